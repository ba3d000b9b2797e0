#!/usr/bin/env python3
"""Measures `fillmask augment` against nlpaug's ContextualWordEmbsAug on sentences of reviews: sentences a second, in turns
in one run, medians; and how many of the outputs break the spacing of their sources.

    python3 tests/bench/augment.py --texts FILE.jsonl[.xz] [--sentences 512] [--rounds 3] [--threads 2]

Both substitute 15% of the words, at least one and at most ten, by words drawn from the 20 best, with the same f32
weights (`fillmask quantize --dtype f32`), which nlpaug loads through transformers. Fillmask's time is that of the whole
program, its start and the reading of the model included; nlpaug's starts when its model is loaded, and it gets lists of
its own batch size, as it loses what is beyond. A third side is the model as it ships, in int8.

An output breaks the spacing if its runs of white space are not those of its source, one by one; "but for their width"
takes each run for a single space, so that only spaces put in or lost around marks count. Needs the PyPI packages nlpaug,
torch and transformers."""
import argparse
import json
import lzma
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = os.environ.get("FILLMASK_BIN", ROOT / "build" / "fillmask")
BATCH = 32


def read_sentences(path, count):
    """Sentences of 5 to 50 words, one of each review, as they stand there."""
    found = []
    with (lzma.open if path.endswith(".xz") else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            sentences = [s for s in re.split(r"(?<=[.!?])\s+|(?:<br />)+|\n+", text) if 5 <= len(s.split()) <= 50]
            if sentences:
                found.append(sentences[len(found) % len(sentences)].strip())
            if len(found) == count:
                return found
    sys.exit(f"{path} has only {len(found)} texts with a sentence; ask for fewer.")


def augment(model, sentences, threads):
    command = [PROGRAM, "augment", "-q", "-m", model, "--rate", "0.15", "--max", "10", "-k", "20", "--format", "txt",
               "--threads", str(threads), "-"]
    done = subprocess.run(command, input="\n".join(sentences) + "\n", check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def make_peer(model, threads):
    import torch
    import transformers

    # nlpaug 1.1.11 asks tokenizers for two methods by the names that they had before transformers 5.
    base = transformers.PreTrainedTokenizerBase
    if not hasattr(base, "_convert_token_to_id"):
        base._convert_token_to_id = lambda self, token: self.convert_tokens_to_ids(token)
        base._convert_id_to_token = lambda self, number: self.convert_ids_to_tokens(number)
    import nlpaug.augmenter.word as words

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    peer = words.ContextualWordEmbsAug(model_path=str(model), model_type="bert", action="substitute", aug_p=0.15,
                                       aug_min=1, aug_max=10, top_k=20, batch_size=BATCH, device="cpu")
    return lambda sentences: [text for at in range(0, len(sentences), BATCH)
                              for text in peer.augment(sentences[at:at + BATCH])]


def broken(sources, outputs, width):
    def spaces(text):
        runs = re.findall(r"\s+", text)
        return runs if width else [" "] * len(runs)
    return sum(spaces(source) != spaces(output) for source, output in zip(sources, outputs)) / len(sources)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--model", default=ROOT / "weights" / "fillmask-small-en")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sentences = read_sentences(options.texts, options.sentences)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "f32"
        subprocess.run([PROGRAM, "quantize", "-m", options.model, "--dtype", "f32", "-o", plain, "-q"], check=True,
                       capture_output=True)
        sides = {"fillmask, f32": lambda texts: augment(plain, texts, options.threads),
                 "fillmask, as it ships": lambda texts: augment(options.model, texts, options.threads),
                 "nlpaug, f32": make_peer(plain, options.threads)}
        speeds, outputs = {name: [] for name in sides}, {}
        sides["nlpaug, f32"](sentences[:BATCH])  # warm
        for _ in range(options.rounds):
            for name, work in sides.items():
                start = time.perf_counter()
                outputs[name] = work(sentences)
                speeds[name].append(len(sentences) / (time.perf_counter() - start))
                if len(outputs[name]) != len(sentences):
                    sys.exit(f"{name} gave {len(outputs[name])} outputs for {len(sentences)} sentences.")
    result = {}
    for name, values in speeds.items():
        ratios = [a / b for a, b in zip(values, speeds["nlpaug, f32"])]
        result[name] = {"sentences_per_second": statistics.median(values), "least": min(values), "most": max(values),
                        "ratio": statistics.median(ratios),
                        "unchanged": sum(a == b for a, b in zip(sentences, outputs[name])) / len(sentences),
                        "broken_spacing": broken(sentences, outputs[name], True),
                        "broken_but_for_width": broken(sentences, outputs[name], False)}
    if options.json:
        print(json.dumps({"sentences": len(sentences), "threads": options.threads, **result}))
        return
    words = sum(len(text.split()) for text in sentences)
    print(f"{len(sentences)} sentences of {words / len(sentences):.1f} words, {options.rounds} rounds, "
          f"{options.threads} threads")
    print(f"{'':22} {'sentences/s':>11} {'ratio':>6}   broken spacing, but for width, unchanged")
    for name, one in result.items():
        print(f"{name:22} {one['sentences_per_second']:11.1f} {one['ratio']:6.1f}   {one['broken_spacing']:14.1%} "
              f"{one['broken_but_for_width']:14.1%} {one['unchanged']:9.1%}   (from {one['least']:.1f} to {one['most']:.1f})")


if __name__ == "__main__":
    main()
