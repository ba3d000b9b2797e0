#!/bin/sh
# start.sh - `npm start`: set-up and build, then a few sentences filled by the default model, then the demo page, served
# until Ctrl-C. Where CI or FILLMASK_NO_SERVE is set, as build services do, it only says how to serve the page.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
setup_build
build default
build/fillmask fill "The capital of France is [MASK]." "This movie was really [MASK]." \
    "He [MASK] the door and walked into the [MASK]."
echo
echo "More: build/fillmask fill \"Your own [MASK] here.\", or build/fillmask --help"

sh tools/site.sh
if [ -n "${CI:-}${FILLMASK_NO_SERVE:-}" ]; then
    echo "node tools/serve.mjs serves the demo page."
else
    exec node tools/serve.mjs
fi
