#!/bin/sh
# recipe.sh - makes the model in this folder again, from text to int8 weights and their figures.
#
#   sh weights/fillmask-small-en/recipe.sh WIKIPEDIA.jsonl IMDB.jsonl OUTPUT
#
# WIKIPEDIA and IMDB (its unsupervised reviews) have an object {"id", "text"} a line; OUTPUT is a folder for everything.
# 1% of the documents, picked by a hash of their ids, is held out throughout. FILLMASK names the program. It takes one
# to two hours on two cores, and goes on where it was when it is started again.
set -eu
wikipedia=$1 imdb=$2 out=$3
fillmask=${FILLMASK:-build/fillmask}
mkdir -p "$out"

# A quarter of the articles is already more than one pass over the text can use.
[ -f "$out/wikipedia.jsonl" ] || awk 'NR % 4 == 1' "$wikipedia" >"$out/wikipedia.jsonl"
[ -d "$out/vocabulary" ] ||
    "$fillmask" train-vocab --data "$out/wikipedia.jsonl" "$imdb" --part train --size 16000 --alphabet 400 \
        -o "$out/vocabulary"

"$fillmask" train --resume --tokenizer "$out/vocabulary" --init neighbours \
    --layers 4 --hidden 256 --heads 4 --positions 128 --dropout 0 \
    --data "$out/wikipedia.jsonl" "$imdb" --part train --lengths 64:0.75,128:1 --batch 16 --length 128 \
    --steps 10000 --learning-rate 8e-4 --warmup 0.15 --mask-rate 0.2 --seed 42 --save-every 1000 \
    --eval-data "$out/wikipedia.jsonl" "$imdb" --eval-part held-out --eval-every 1000 --eval-limit 400 \
    -o "$out/model"
"$fillmask" quantize -m "$out/model" --dtype int8 -o "$out/int8"

# The figures of the card: f32 and int8, on all that is held out of either collection.
for model in model int8; do
    for data in "$wikipedia" "$imdb"; do
        "$fillmask" eval -m "$out/$model" --data "$data" --part held-out --json
    done
done | tee "$out/results.jsonl"
