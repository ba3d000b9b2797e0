#!/usr/bin/env python3
"""Compares ids, offsets, words and decoded text with Hugging Face's tokenizers, uncased and cased: every scalar value
alone and inside words, random strings of every script, and lines of real text where there is some.

    python3 tests/differential/tokenizer.py --tokenizer FOLDER [--texts FILE.jsonl.xz ...] [--random 200000]

FOLDER holds a tokenizer.json; the texts' lines are JSON with a "text". Needs the PyPI package tokenizers (0.23 is the
version whose Unicode the tables follow)."""
import argparse
import json
import lzma
import random
import string
import sys
import tempfile
from pathlib import Path

from tokenizer_library import Tokenizer, build, reference

NO_WORD = 0xFFFFFFFF
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
# Where scripts and oddities live; random text takes runs out of one or several of them.
BLOCKS = [(0x20, 0x7E), (0x00, 0x24F), (0x250, 0x36F), (0x300, 0x36F), (0x370, 0x52F), (0x530, 0x74F), (0x780, 0x8FF),
          (0x900, 0xDFF), (0xE00, 0xFFF), (0x1000, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x17FF), (0x1AB0, 0x1AFF),
          (0x1D00, 0x1DFF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x2C00, 0x2E7F), (0x3000, 0x30FF),
          (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xE0FF), (0xF900, 0xFFFF),
          (0x10000, 0x10FFF), (0x11000, 0x12FFF), (0x16000, 0x18FFF), (0x1B000, 0x1BFFF), (0x1D000, 0x1D7FF),
          (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE01EF), (0x100000, 0x10FFFF)]
MARKS = [0x300, 0x301, 0x323, 0x327, 0x334, 0x344, 0x345, 0x5B0, 0x64B, 0x93C, 0xF71, 0xF73, 0xF81, 0x1DFA, 0x302A,
         0x302E, 0x1ABF, 0x1D165, 0x1D16D, 0x16FF0]
PIECES = ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK", "[mask]", "[", "]", " ", "\t", "\n", "\r", "\u0000",
          "\u0085", "\u00a0", "\u200d", "\ufeff", "\ufffd", "don't", "the", "unaffable", "##ing", "naïve", "İstanbul",
          "ΑΣ", "Straße", "ﬁ", "가각힣", "中文", "\u1100\u1161\u11a8", "x" * 100, "x" * 101, "é" * 100, "é" * 101, "👩‍👩‍👧"]
ALNUM = string.digits + string.ascii_letters


def random_text(rng, vocabulary):
    out = []
    for _ in range(rng.randint(1, 6)):
        kind = rng.random()
        if kind < 0.12:  # of ASCII, short and long, mostly not in the vocabulary
            out.append("".join(rng.choices(ALNUM, k=rng.choice([1, 3, 7, 8, 9, 15, 16, 17, 24, 40]))))
        elif kind < 0.2:
            word = rng.choice(vocabulary)
            out.append("".join(c.upper() if rng.random() < 0.2 else c for c in word))
        elif kind < 0.3:
            out.append(rng.choice(PIECES))
        elif kind < 0.45:
            out += [rng.choice("aeoAİé가ក") + "".join(chr(rng.choice(MARKS)) for _ in range(rng.randint(1, 40)))]
        elif kind < 0.55:
            out += [chr(rng.choice(SCALARS)) for _ in range(rng.randint(1, 8))]
        else:
            low, high = rng.choice(BLOCKS)
            out += [chr(c) for c in (rng.randint(low, high) for _ in range(rng.randint(1, 20))) if not
                    0xD800 <= c < 0xE000]
        if rng.random() < 0.5:
            out.append(" ")
    return "".join(out)


def byte_offsets(text):
    """The byte at which each character starts, and the end."""
    at, starts = 0, []
    for character in text:
        starts.append(at)
        at += len(character.encode())
    return starts + [at]


class Comparison:
    def __init__(self, ours, theirs, name):
        self.ours, self.theirs, self.name, self.tested, self.wrong = ours, theirs, name, 0, 0

    def texts(self, texts):
        for text, encoding in zip(texts, self.theirs.encode_batch(texts, add_special_tokens=False)):
            starts = byte_offsets(text)
            spans = [(starts[a], starts[b]) for a, b in encoding.offsets]
            ids, offsets, words = self.ours.encode(text.encode())
            self.tested += 1
            same_words = len(words) == len(encoding.word_ids) and all(
                a == b or a == NO_WORD and i in self.special for i, a, b in zip(ids, words, encoding.word_ids))
            if ids == encoding.ids and offsets == spans and same_words:
                continue
            self.wrong += 1
            if self.wrong <= 20:
                print(f"{self.name}: {text!r} {[hex(ord(c)) for c in text[:40]]}\n  ours   {ids} {offsets} {words}\n"
                      f"  theirs {encoding.ids} {spans} {encoding.word_ids}")

    def decoding(self, rng, size, count):
        for _ in range(count):
            ids = [rng.randrange(size) for _ in range(rng.randint(0, 30))]
            skip = rng.random() < 0.5
            self.tested += 1
            if self.ours.decode(ids, skip, True) != self.theirs.decode(ids, skip_special_tokens=skip):
                self.wrong += 1
                if self.wrong <= 20:
                    print(f"{self.name}: decode {ids}: {self.ours.decode(ids, skip, True)!r},"
                          f" theirs {self.theirs.decode(ids, skip_special_tokens=skip)!r}")


def real_lines(path, most):
    with lzma.open(path, "rt") as file:
        for number, line in enumerate(file):
            if number == most:
                return
            yield json.loads(line)["text"][:20000]


def in_batches(texts, size=2000):
    batch = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--texts", nargs="*", default=[])
    parser.add_argument("--random", type=int, default=200000)
    parser.add_argument("--lines", type=int, default=3000, help="of each text file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    library = build()
    state = json.loads((Path(options.tokenizer) / "tokenizer.json").read_text())
    wrong = 0
    for lowercase in (True, False):
        state["normalizer"]["lowercase"] = lowercase
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "tokenizer.json").write_text(json.dumps(state))
            ours = Tokenizer(library, path=folder)
        compare = Comparison(ours, reference(Path(options.tokenizer) / "tokenizer.json", lowercase),
                             "uncased" if lowercase else "cased")
        compare.special = {token["id"] for token in state["added_tokens"]}
        for form in ("{}", "a{}b", "e{}\u0301\u0323x"):
            for batch in in_batches(form.format(chr(c)) for c in SCALARS):
                compare.texts(batch)
        rng, vocabulary = random.Random(options.seed), list(state["model"]["vocab"])
        for batch in in_batches(random_text(rng, vocabulary) for _ in range(options.random)):
            compare.texts(batch)
        for path in options.texts:
            for batch in in_batches(real_lines(path, options.lines), 500):
                compare.texts(batch)
        compare.decoding(rng, len(state["model"]["vocab"]), 20000)
        print(f"{compare.name}: {compare.tested} texts, {compare.wrong} different")
        wrong += compare.wrong
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
