#!/bin/sh
# test.sh - `npm test`: set-up, then every test, plain and under the sanitizers.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
for kind in plain address,undefined thread; do
    case $kind in
    plain) folder=build; build $folder ;;
    *) folder=build-$(echo $kind | cut -d, -f1); build $folder -DFILLMASK_SANITIZE=$kind ;;
    esac
    echo "Tests: $kind"
    ctest --test-dir $folder --output-on-failure
done
