#!/bin/sh
# recipe.sh - makes the model in this folder again, and the figures of its card: the fine-tuning of the original's
# recipe, which it is compared with, and its own; int8; all of them measured on the same masks.
#
#   sh weights/fillmask-small-en-imdb/recipe.sh IMDB OUTPUT
#
# IMDB is the Large Movie Review Dataset: the folder aclImdb, a tar of it, or its 25,000 labelled reviews with an object
# {"text"} a line. OUTPUT is a folder for everything. FILLMASK names the program. It took half an hour on two shared
# cores with AMX, and goes on where it was when it is started again.
set -eu
imdb=$1 out=$2
fillmask=${FILLMASK:-build/fillmask}
base=$(dirname "$0")/../fillmask-small-en
name=fillmask-small-en-imdb
mkdir -p "$out"

"$fillmask" train --preset imdb --resume -m "$base" --data "$imdb" -o "$out/preset"
# For a model of this size: a higher rate, smaller steps and all chunks but those that are set aside, once.
"$fillmask" train --preset imdb --resume -m "$base" --data "$imdb" --limit 0 --batch 16 --epochs 1 \
    --learning-rate 2e-4 --warmup 0.05 --eval-every 960 --save-every 200 -o "$out/$name"
[ -d "$out/int8" ] || "$fillmask" quantize -m "$out/$name" --dtype int8 -o "$out/int8"

for model in "$base" "$out/preset" "$out/$name" "$out/int8"; do
    "$fillmask" eval -m "$model" --data "$imdb" --eval-chunks 1000 --json
done | tee "$out/results.jsonl"
