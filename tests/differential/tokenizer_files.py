#!/usr/bin/env python3
"""Checks that transformers in Python reads what fm_tokenizer_save writes, as the same tokenizer: from all three files,
and from vocab.txt and tokenizer_config.json alone.

    python3 tests/differential/tokenizer_files.py [--tokenizer FOLDER]

Without a folder, with the kinds of tests/golden/tokenizer.json only. Needs the PyPI packages transformers and
tokenizers."""
import argparse
import json
import tempfile
from pathlib import Path

from transformers import BertTokenizerFast, DistilBertTokenizerFast, PreTrainedTokenizerFast

from tokenizer_library import ROOT, Tokenizer, build

LENGTH = 384
# Kinds of the golden file that only a tokenizer.json can say, and those that transformers' Bert classes cannot be.
ONLY_JSON = ("as it comes", "short words", "added tokens")
NOT_BERT = ("as it comes", "short words")


def check(ours, folder, texts, name, kinds):
    """Compares with these classes, which read the folder; returns how many there were."""
    for kind in kinds:
        theirs = kind.from_pretrained(folder)
        assert theirs.model_max_length == LENGTH, f"{name}: model_max_length is {theirs.model_max_length}"
        assert theirs.mask_token == "[MASK]" and theirs.pad_token == "[PAD]", name
        for text in texts:
            ids = ours.encode(text.encode(), special=True)[0]
            assert theirs(text)["input_ids"] == ids, f"{name}: {kind.__name__} gives other ids for {text!r}"
            assert theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == \
                ours.decode(ids, True, True), f"{name}: {kind.__name__} decodes {text!r} otherwise"
    return len(kinds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer")
    library, golden = build(), json.loads((ROOT / "tests/golden/tokenizer.json").read_text())
    options = parser.parse_args()
    texts = [case["text"] for case in golden["tokenizers"][0]["cases"]]
    sources = []
    for entry in golden["tokenizers"]:
        entry["file"]["model"]["vocab"] = {token: i for i, token in enumerate(golden["vocab"])}
        sources.append((entry["name"], json.dumps(entry["file"])))
    if options.tokenizer:
        sources.append((options.tokenizer, Path(options.tokenizer, "tokenizer.json").read_text()))
    for name, source in sources:
        with tempfile.TemporaryDirectory() as start, tempfile.TemporaryDirectory() as folder:
            Path(start, "tokenizer.json").write_text(source)
            ours = Tokenizer(library, path=start)
            ours.save(folder, LENGTH)
            bert = [BertTokenizerFast, DistilBertTokenizerFast]
            ways = check(ours, folder, texts, name, [PreTrainedTokenizerFast] + (bert if name not in NOT_BERT else []))
            if name not in ONLY_JSON:
                Path(folder, "tokenizer.json").unlink()
                ways += check(ours, folder, texts, name + ", from vocab.txt", bert)
            print(f"{name}: {ways} ways of reading, {len(texts)} texts, no difference")


if __name__ == "__main__":
    main()
