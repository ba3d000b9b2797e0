#!/usr/bin/env python3
"""Measures fm_tokenizer_encode against Hugging Face's tokenizers (Rust): megabytes of text a second, one thread each, in
turns in one run, medians. Not a test of results, but refuses to measure different ids.

    python3 tests/bench/tokenizer.py --tokenizer FOLDER --texts FILE.jsonl[.xz] [--megabytes 8] [--rounds 7]

FOLDER holds a tokenizer.json; the texts' lines are JSON with a "text", whole texts are encoded one by one with [CLS] and
[SEP], offsets and words. Ours is called through ctypes, and the call counts; theirs gets all texts in one batch. The
time is that of the processor, so that other work on the machine counts for neither. Needs the PyPI package
tokenizers."""
import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import lzma  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "differential"))
from tokenizer_library import Tokenizer, build, reference  # noqa: E402


def read_texts(path, most):
    """Texts of the file's beginning, `most` bytes in all."""
    texts, size = [], 0
    with (lzma.open if path.endswith(".xz") else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
            if size >= most:
                break
    return texts, size


def encode_all(ours, inputs):
    encode, arguments = ours.library.fm_tokenizer_encode, (ours.handle, ctypes.byref(ours.encoding))
    for text, size in inputs:
        if encode(arguments[0], text, size, True, arguments[1], None):
            sys.exit("a text could not be encoded.")


def seconds(work, *arguments):
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--least", type=float, default=0, help="fail below this ratio")
    options = parser.parse_args()
    texts, size = read_texts(options.texts, options.megabytes * 1e6)
    ours, theirs = Tokenizer(build(), path=options.tokenizer), reference(Path(options.tokenizer) / "tokenizer.json")
    for text, encoding in zip(texts[:500], theirs.encode_batch(texts[:500])):
        if ours.encode(text.encode(), special=True)[0] != encoding.ids:
            sys.exit(f"the two give different ids for {text[:80]!r}...; run tests/differential/tokenizer.py.")
    inputs = [(text.encode(), ctypes.c_size_t(len(text.encode()))) for text in texts]
    encode_all(ours, inputs)
    speeds = {"fillmask": [], "tokenizers": []}
    for _ in range(options.rounds):
        speeds["fillmask"].append(size / 1e6 / seconds(encode_all, ours, inputs))
        speeds["tokenizers"].append(size / 1e6 / seconds(theirs.encode_batch, texts))
    print(f"{len(texts)} texts, {size / 1e6:.1f} MB, {options.rounds} rounds, one thread each")
    for name, values in speeds.items():
        print(f"{name:>10}  {statistics.median(values):7.1f} MB/s  (from {min(values):.1f} to {max(values):.1f})")
    ratio = statistics.median(a / b for a, b in zip(speeds["fillmask"], speeds["tokenizers"]))
    print(f"{'ratio':>10}  {ratio:7.1f}")
    sys.exit(1 if ratio < options.least else 0)


if __name__ == "__main__":
    main()
