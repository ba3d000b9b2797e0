#!/bin/sh
# gpu_setup.sh - what the tests of the GPU path need where there is no GPU, in build-dawn/: Dawn's binding for Node.js,
# the npm package webgpu (132 MB), which computes on the SwiftShader that Chromium brings. Nothing of it ships. Does
# nothing where it is there.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
if command -v dpkg-query >/dev/null 2>&1; then
    install "the Vulkan loader, through which Dawn finds GPUs" libvulkan1
fi
version=0.6.2 # the one that was tested
[ -f "build-dawn/$version" ] && exit 0
echo "Fetching Dawn for Node.js, to test the GPU path"
mkdir -p build-dawn
npm install --prefix build-dawn --no-save --no-audit --no-fund --silent "webgpu@$version"
touch "build-dawn/$version"
