#!/bin/sh
# start.sh - `npm start`: set-up and build.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
build build
echo "Built build/libfillmask.a. There is no model yet: see the README for what works."
