#!/bin/sh
# gpu_setup.sh - what the tests of the GPU path need where there is no GPU, in build-dawn/: Dawn's binding for Node.js,
# the npm package webgpu (132 MB), which computes on the SwiftShader that Chromium brings; and, on Debian, Mesa's
# lavapipe, a GPU in software that has f16. Nothing of it ships. Does nothing where it is there.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
if command -v dpkg-query >/dev/null 2>&1; then
    install "the Vulkan loader, through which Dawn finds GPUs" libvulkan1
fi

# Mesa's driver as Debian has it, for the libraries that it needs; and where that is too old for Dawn (Debian 12's), the
# driver alone from the backports, unpacked beside Dawn. Without it the tests of f16 are skipped.
fetch_lavapipe() {
    command -v apt-get >/dev/null 2>&1 || return 0
    mkdir -p build-dawn
    install "Mesa's GPU in software, to test f16" mesa-vulkan-drivers
    driver=$(ls /usr/lib/*/libvulkan_lvp.so | head -n 1)
    if dpkg --compare-versions "$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers)" lt 24; then
        suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
        from=$(apt-get indextargets --format '$(REPO_URI)' "Codename: ${suite%-backports}" "Component: main" | head -n 1)
        apt="$PWD/build-dawn/apt"
        mkdir -p "$apt/lists/partial"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$apt/sources"
        set -- -q=2 -oDir::Etc::SourceList="$apt/sources" -oDir::Etc::SourceParts=/dev/null -oDir::State::Lists="$apt/lists" \
            -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= -oAPT::Sandbox::User=root
        apt-get "$@" update && (cd "$apt" && apt-get "$@" -t "$suite" download mesa-vulkan-drivers) &&
            dpkg -x "$apt"/mesa-vulkan-drivers_*.deb build-dawn/mesa || return 1
        rm -rf "$apt"
        driver=$(ls "$PWD"/build-dawn/mesa/usr/lib/*/libvulkan_lvp.so)
    fi
    echo "{\"file_format_version\": \"1.0.0\", \"ICD\": {\"library_path\": \"$driver\", \"api_version\": \"1.3.0\"}}" >build-dawn/lavapipe.json
}
if [ ! -f build-dawn/lavapipe.json ]; then
    fetch_lavapipe || echo "Mesa's lavapipe cannot be had; the tests of f16 will be skipped."
fi
version=0.6.2 # the one that was tested
[ -f "build-dawn/$version" ] && exit 0
echo "Fetching Dawn for Node.js, to test the GPU path"
mkdir -p build-dawn
npm install --prefix build-dawn --no-save --no-audit --no-fund --silent "webgpu@$version"
touch "build-dawn/$version"
