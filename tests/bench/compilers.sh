#!/bin/sh
# compilers.sh - which compiler makes the faster fillmask: builds with each in temporary folders, measures the builds in
# turn, round by round, and prints the median of the rounds. See README.md.
#
# Usage: compilers.sh [COMPILER...]   (names on the PATH; default: gcc clang)
# ROUNDS (default 7), THREADS (default "1 2") and FLAGS (options of CMake, for all builds) come from the environment.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
rounds=${ROUNDS:-7}
[ $# -gt 0 ] || set -- gcc clang
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

for compiler; do
    mkdir "$work/$compiler"
    # FLAGS is a list of words.
    # shellcheck disable=SC2086
    cmake -S "$root" -B "$work/$compiler" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DFILLMASK_TESTS=OFF ${FLAGS:-} \
        >"$work/log" 2>&1 && cmake --build "$work/$compiler" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
done

# measure NAME OPTION...: a line of the table.
measure() {
    name=$1
    shift
    for round in $(seq "$rounds"); do
        for compiler in $compilers; do
            "$work/$compiler/fillmask" bench --json "$@" >"$work/figures"
            sed 's/.*"median_ms": \([0-9.]*\).*/\1/' "$work/figures" >>"$work/$compiler.ms"
        done
    done
    printf '| %s |' "$name"
    for compiler in $compilers; do
        sort -n "$work/$compiler.ms" | awk '{ x[NR] = $1 } END { printf " %.1f |", (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'
        rm "$work/$compiler.ms"
    done
    echo
}

compilers=$*
printf '| median, ms |'
for compiler; do printf ' %s |' "$("$compiler" --version | head -n 1)"; done
printf '\n|---|'
for compiler; do printf -- '---|'; done
echo
for threads in ${THREADS:-1 2}; do
    measure "forward, $threads threads" --threads "$threads" --repeat 15
    measure "training step, $threads threads" --train --threads "$threads" --repeat 2
    measure "training step of 4 x 256, $threads threads" --train --threads "$threads" --repeat 5 --layers 4 --hidden 256 \
        --heads 4 --vocab 16000
done
