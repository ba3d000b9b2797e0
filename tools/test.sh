#!/bin/sh
# test.sh - `npm test`: set-up, then every test: plain, under the sanitizers, as WebAssembly, and each fuzzer for
# FUZZ_SECONDS (10).
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
setup_build
setup_tests
for preset in default address thread; do
    build $preset
    folder=build
    [ $preset = default ] || folder=build-$preset
    echo "C tests: $preset"
    ctest --test-dir $folder --output-on-failure
    [ $preset = thread ] && continue
    echo "Command-line tests: $preset"
    FILLMASK_BIN="$PWD/$folder/fillmask" node --test tests/cli/*.mjs
done
sh tools/wasm_setup.sh
build_wasm
echo "WebAssembly tests"
node --test tests/wasm/*.test.mjs
sh tools/web_setup.sh
echo "Tests of the package: Node.js, Chromium"
node --test tests/web/*.test.mjs
sh tools/gpu_setup.sh
echo "Tests of the GPU path, on SwiftShader"
node --test tests/webgpu/*.test.mjs
build fuzz
for fuzzer in build-fuzz/fuzz_*; do
    [ -x "$fuzzer" ] && [ -f "$fuzzer" ] || continue
    echo "Fuzzing: ${fuzzer#build-fuzz/}, ${FUZZ_SECONDS:-10} s"
    "$fuzzer" -max_total_time="${FUZZ_SECONDS:-10}" -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0
done
echo "All tests passed."
