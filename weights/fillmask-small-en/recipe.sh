#!/bin/sh
# recipe.sh - makes the model in this folder again, from text to int8 weights and their figures.
#
#   sh weights/fillmask-small-en/recipe.sh WIKIPEDIA.jsonl IMDB.jsonl OUTPUT
#
# WIKIPEDIA and IMDB (its unsupervised reviews) have an object {"id", "text"} a line; OUTPUT is a folder for everything.
# 1% of the documents, picked by a hash of their ids, is held out throughout. FILLMASK names the program. It takes
# eight hours or so on two cores, and goes on where it was when it is started again. With FILLMASK=web/cli.js, the
# program of the package, and FILLMASK_DEVICE=webgpu a graphics card trains and evaluates, as the README says.
set -eu
wikipedia=$1 imdb=$2 out=$3
fillmask=${FILLMASK:-build/fillmask}
mkdir -p "$out"

# make NAME COMMAND...: a file of what a command prints, unless it is there, and not before all of it is.
make() {
    file=$out/$1.jsonl
    shift
    [ -f "$file" ] || {
        "$@" >"$file.part"
        mv "$file.part" "$file"
    }
}
# some FILE STEP REST NAME: the lines whose number leaves REST when divided by STEP.
some() {
    make "$4" awk -v step="$2" -v rest="$3" 'NR % step == rest' "$1"
}
some "$wikipedia" 4 1 first-quarter
some "$wikipedia" 4 3 third-quarter
some "$wikipedia" 8 2 eighth
some "$imdb" 2 0 half-imdb
some "$imdb" 2 1 other-half-imdb
# What an article is about stands in its first paragraphs.
make leads node -e '
    require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
        const { id, text } = JSON.parse(line), lead = text.slice(0, 2000), end = lead.lastIndexOf("\n");
        console.log(JSON.stringify({ id, text: end > 800 ? lead.slice(0, end) : lead }));
    });' <"$wikipedia"

# pieces FILE NAME STEP RESTS BETWEEN: of the documents whose number leaves one of RESTS, the pieces of five words or
# more that BETWEEN parts.
pieces() {
    make "$2" node -e '
    const [step, rests, between] = process.argv.slice(1), expression = new RegExp(between);
    let number = 0;
    require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
        if (!rests.split(",").includes(String(++number % step))) return;
        const { id, text } = JSON.parse(line), pieces = text.split(expression).filter((p) => p.split(" ").length > 4);
        for (const text of pieces) console.log(JSON.stringify({ id, text }));
    });' "$3" "$4" "$5" <"$1"
}
sentence='\n|<br />|(?<=[.!?]) (?=["(A-Z0-9])'
pieces "$out/leads.jsonl" sentences 1 0 "$sentence"
pieces "$wikipedia" paragraphs 8 0,4,6 '\n'
pieces "$imdb" review-sentences 2 1 "$sentence"

# Of all articles, the sentences with two names behind their first word: what relates people, places and times. And the
# short ones with a name, like those that are filled; some of these say what something is.
[ -f "$out/names.jsonl" ] && [ -f "$out/short.jsonl" ] || pieces "$wikipedia" all-sentences 1 0 "$sentence"
make names env LC_ALL=C grep -E '[a-z,] [A-Z][a-z]+.* [A-Z][a-z]+' "$out/all-sentences.jsonl"
make short env LC_ALL=C awk 'NF <= 25 && /[a-z,] [A-Z][a-z]+/' "$out/all-sentences.jsonl"
make statements env LC_ALL=C grep -E ' (is|are|was|were) ' "$out/short.jsonl"
rm -f "$out/all-sentences.jsonl"
pieces "$wikipedia" other-paragraphs 8 3 '\n'
pieces "$wikipedia" last-paragraphs 8 7 '\n'
pieces "$imdb" other-review-sentences 2 0 "$sentence"

# These sentences end at "St." and the like, which is learnt from the short ones. So, at last, whole statements.
whole='\n|<br />|(?<=[.!?])(?<!\b(?:[A-Z]|St|Mr|Mrs|Ms|Dr|Jr|Sr|Prof|Gen|Col|Lt|Capt|Sgt|Rev|Gov|Sen|Rep|Mt|Ft|No|vs)\.)'
whole="$whole"' (?=["(A-Z0-9])'
[ -f "$out/whole-statements.jsonl" ] || pieces "$wikipedia" whole-sentences 1 0 "$whole"
make whole-statements env LC_ALL=C awk 'NF <= 25 && /[a-z,] [A-Z][a-z]+/ && / (is|are|was|were) /' \
    "$out/whole-sentences.jsonl"
rm -f "$out/whole-sentences.jsonl"
pieces "$imdb" whole-review-sentences 4 0 "$whole"
pieces "$wikipedia" some-paragraphs 32 3 '\n'

[ -d "$out/vocabulary" ] ||
    "$fillmask" train-vocab --data "$out/first-quarter.jsonl" "$imdb" --part train --size 16000 --alphabet 400 \
        -o "$out/vocabulary"

# train NAME OPTION...: a stage, with what all stages have in common. In the background, how=exec makes $! the program.
how=""
train() {
    name=$1
    shift
    $how "$fillmask" train --resume --dropout 0 --mask-rate 0.2 --length 128 --part train \
        --eval-data "$wikipedia" "$imdb" --eval-part held-out --eval-limit 400 -o "$out/$name" "$@"
}

if [ ! -d "$out/first.int8" ]; then
    train first --tokenizer "$out/vocabulary" --init neighbours --layers 4 --hidden 256 --heads 4 --positions 128 \
        --data "$out/first-quarter.jsonl" "$imdb" --lengths 64:0.75,128:1 --batch 16 \
        --steps 10000 --learning-rate 8e-4 --warmup 0.15 --seed 42 --save-every 1000 --eval-every 1000
    "$fillmask" quantize -m "$out/first" --dtype int8 -o "$out/first.int8"
fi

# Stopped at step 4,750 of 10,000, to begin the descent of the learning rate earlier.
if [ ! -d "$out/third" ]; then
    how=exec
    train second -m "$out/first.int8" --data "$out/leads.jsonl" "$out/third-quarter.jsonl" "$imdb" \
        --lengths 64:0.6,128:1 --batch 32 --steps 10000 --learning-rate 8e-4 --warmup 0.05 --seed 43 \
        --precision bf16 --save-every 250 --eval-every 1000 &
    how=""
    while [ ! -f "$out/second/checkpoint-4750.safetensors" ] && kill -0 $! 2>/dev/null; do sleep 1; done
    kill -TERM $! 2>/dev/null || true # it saves; what runs in the background does not hear Ctrl-C
    wait $! || true
    [ -f "$out/second/checkpoint-4750.safetensors" ] || { echo "The second stage ended before step 4,750." >&2; exit 1; }
fi

if [ ! -d "$out/third.int8" ]; then
    train third -m "$out/second" --data "$out/leads.jsonl" "$out/eighth.jsonl" "$out/half-imdb.jsonl" \
        --lengths 64:0.4,128:1 --batch 32 --steps 3200 --learning-rate 6e-4 --warmup 0.01 --seed 44 \
        --precision bf16 --save-every 200 --eval-every 800
    "$fillmask" quantize -m "$out/third" --dtype int8 -o "$out/third.int8"
fi

# Pieces of every length on their own, since what is filled is often one sentence.
# lines NAME FROM BATCH RATE SEED FILE...: a stage that reads each piece of the files as a sequence of its own, once.
lines() {
    stage=$1 from=$2 batch=$3 rate=$4 seed=$5
    shift 5
    [ ! -d "$out/$stage.int8" ] || return 0
    for file; do
        shift
        set -- "$@" "$out/$file.jsonl"
    done
    train "$stage" -m "$out/$from" --line-by-line --data "$@" --batch "$batch" --epochs 1 --learning-rate "$rate" \
        --warmup 0.02 --seed "$seed" --precision bf16 --micro-tokens 2400 --save-every 250 --eval-every 1500
    "$fillmask" quantize -m "$out/$stage" --dtype int8 -o "$out/$stage.int8"
}
lines fourth third 80 8e-4 45 sentences paragraphs half-imdb review-sentences
lines fifth fourth 128 8e-4 46 names other-paragraphs other-half-imdb other-review-sentences
lines sixth fifth 192 8e-4 47 short short statements last-paragraphs half-imdb review-sentences
lines seventh sixth 192 4e-4 48 whole-statements whole-review-sentences some-paragraphs

# The figures of the card: f32 and int8, on all that is held out of either collection.
for model in seventh seventh.int8; do
    for data in "$wikipedia" "$imdb"; do
        "$fillmask" eval -m "$out/$model" --data "$data" --part held-out --json
    done
done | tee "$out/results.jsonl"
