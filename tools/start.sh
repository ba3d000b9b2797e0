#!/bin/sh
# start.sh - `npm start`: set-up and build, then a few sentences filled by the default model.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
setup_build
build default
build/fillmask fill "The capital of France is [MASK]." "This movie was really [MASK]." \
    "He [MASK] the door and walked into the [MASK]."
echo
echo "More: build/fillmask fill \"Your own [MASK] here.\", or build/fillmask --help"
