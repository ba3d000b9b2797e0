#!/usr/bin/env python3
"""Makes the folder that check.mjs compares with: a DistilBertForMaskedLM of full shape with seeded random weights as
transformers saves it, a made-up vocabulary, a text with one mask, and reference.json: the text, its ids, the mask's
row, and the logits of that row and of the first one that PyTorch computes in double precision.

Usage: check_reference.py FOLDER
"""

import json
import pathlib
import sys

import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM

TOKENS, ROW = 128, 77
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def seeded_model(config):
    """Larger than a training starts with, biases and norms included: attention is far from uniform, the logits far
    from alike, and an exchanged bias or norm shows."""
    torch.manual_seed(42)
    model = DistilBertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, 0.05)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def main():
    folder = pathlib.Path(sys.argv[1])
    config = DistilBertConfig()
    model = seeded_model(config)
    model.save_pretrained(folder)
    words = SPECIAL + [f"w{i}" for i in range(len(SPECIAL), config.vocab_size)]
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in words))
    ids = torch.randint(len(SPECIAL), config.vocab_size, (1, TOKENS))
    ids[0, 0], ids[0, -1], ids[0, ROW] = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]"), SPECIAL.index("[MASK]")
    with torch.inference_mode():
        logits = model.double()(input_ids=ids).logits[0]
    reference = {"text": " ".join(words[i] for i in ids[0, 1:-1].tolist()), "ids": ids[0].tolist(), "row": ROW,
                 "logits": logits[ROW].tolist(), "first_logits": logits[0].tolist()}
    (folder / "reference.json").write_text(json.dumps(reference))


if __name__ == "__main__":
    main()
