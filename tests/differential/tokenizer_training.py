#!/usr/bin/env python3
"""Compares vocabulary training with Hugging Face's WordPieceTrainer on real text: the vocabularies must be equal, token
by token in their order, and ours must not depend on the number of threads.

    python3 tests/differential/tokenizer_training.py --texts FILE.jsonl[.xz] [--megabytes 4] [--size 1000 8000 ...]

Theirs numbers the ## characters in the order of a hash table with a random seed, and equally frequent pairs merge by
those numbers: it gives another order each time, and now and then other tokens. Here it is told all characters beforehand, as if they were
special tokens, in the order that ours gives them; nothing else is then left to chance. How far its own runs differ from
one another, and from ours, is printed for comparison. Needs the PyPI package tokenizers."""
import argparse
import ctypes
import sys
import time
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tokenizer_library import Error, build

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from tokenizer import read_texts  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Trainer:
    """fm_vocab_trainer_ functions; frees nothing, a test is short."""
    def __init__(self, library):
        self.library = library

    def call(self, name, *arguments):
        error = Error()
        if getattr(self.library, name)(*arguments, ctypes.byref(error)):
            sys.exit(error.text.decode())

    def train(self, texts, size, least, limit, lowercase, threads):
        pool, trainer = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("fm_pool_create", ctypes.byref(pool), threads)
        self.call("fm_vocab_trainer_create", ctypes.byref(trainer), lowercase)
        inputs = [text.encode() for text in texts]
        self.call("fm_vocab_trainer_add", trainer, pool, (ctypes.c_char_p * len(inputs))(*inputs),
                  (ctypes.c_size_t * len(inputs))(*map(len, inputs)), ctypes.c_size_t(len(inputs)))
        vocab, length = ctypes.c_void_p(), ctypes.c_size_t()
        self.call("fm_vocab_trainer_finish", trainer, ctypes.c_uint32(size), ctypes.c_uint32(least),
                  ctypes.c_uint32(limit), None, None, ctypes.byref(vocab), ctypes.byref(length))
        return ctypes.string_at(vocab, length.value).decode().splitlines()


def train_theirs(texts, size, least, limit, lowercase, first):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=least, limit_alphabet=limit, special_tokens=first, show_progress=False))
    return sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)


def compare(name, ours, theirs):
    if ours == theirs:
        print(f"{name}: {len(ours)} tokens, no difference")
        return True
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    print(f"{name}: {len(ours)} and {len(theirs)} tokens; from {at} on ours {ours[at:at + 5]}, theirs"
          f" {theirs[at:at + 5]}; {len(set(ours) - set(theirs))} of ours are not among theirs")
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--size", type=int, nargs="*", default=[1000, 8000, 30000])
    options = parser.parse_args()
    texts, trainer, good = read_texts(options.texts, options.megabytes * 1e6)[0], Trainer(build()), True
    for size in options.size:
        for lowercase, least, limit in ((True, 0, 1000), (True, 5, 1000), (False, 2, 60)):
            name = f"size {size}, {'uncased' if lowercase else 'cased'}, least {least}, alphabet of {limit}"
            start = time.process_time()
            ours = trainer.train(texts, size, least, limit, lowercase, 1)
            middle = time.process_time()
            letters = [token for token in ours[len(SPECIAL):] if len(token.removeprefix("##")) == 1 or token in "##"]
            theirs = train_theirs(texts, size, least, limit, lowercase, SPECIAL + letters)
            end = time.process_time()
            good &= compare(f"{name} ({middle - start:.1f} s of ours, {end - middle:.1f} s of theirs)", ours, theirs)
            good &= compare(f"{name}, 1 and 2 threads", ours, trainer.train(texts, size, least, limit, lowercase, 2))
    ours = trainer.train(texts, options.size[-1], 2, 1000, True, 1)
    runs = [train_theirs(texts, options.size[-1], 2, 1000, True, SPECIAL) for _ in range(2)]
    print(f"left to chance: of {len(ours)} tokens, {len(set(runs[0]) - set(runs[1]))} of one run of theirs are not in"
          f" another one, {sum(a != b for a, b in zip(*runs))} have another id; {len(set(ours) - set(runs[0]))} of ours"
          " are not in the first")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
