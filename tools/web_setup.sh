#!/bin/sh
# web_setup.sh - what the tests of the npm package need besides Chromium and Firefox, in build-web/: their drivers, a
# checker of accessibility, TypeScript, the linters of packages and the bundlers of the samples. Nothing of it ships. Does
# nothing where all is there.
set -eu
cd "$(dirname "$0")/.."
# The versions that were tested.
tools="playwright-core@1.65.1 typescript@5.9.3 @types/node@20.19.43 publint@0.3.25 @arethetypeswrong/cli@0.18.5 vite@8.3.8 webpack@5.112.2 webpack-cli@7.3.1 esbuild@0.28.2 axe-core@4.14.1 puppeteer-core@24.43.1"
[ -f "build-web/$(echo "$tools" | cksum | cut -d' ' -f1)" ] && exit 0
echo "Fetching the tools that test the package"
mkdir -p build-web
echo '{ "private": true }' >build-web/package.json
# shellcheck disable=SC2086 # a list of words
npm install --prefix build-web --no-save --no-audit --no-fund --silent $tools
touch "build-web/$(echo "$tools" | cksum | cut -d' ' -f1)"
