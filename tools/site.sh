#!/bin/sh
# site.sh - `npm run site`: builds the WebAssembly modules, then the demo page in dist/site (tools/site.mjs).
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
sh tools/wasm_setup.sh
build_wasm
node tools/site.mjs "$@"
