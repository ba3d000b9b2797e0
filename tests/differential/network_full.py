#!/usr/bin/env python3
"""DistilBERT at full size (6 layers of 768, vocabulary 30522) against PyTorch in double precision: logits of the masked
rows, the loss, the gradient of every parameter, and three AdamW steps with clipping. The model is random and goes
through a file that transformers wrote; the comparison is made by test_network, with its tolerances. Takes some minutes,
6 GB of memory and 1 GB of disk; needs torch, transformers, safetensors and a built test_network.

Usage: network_full.py [TEST_NETWORK]   (default build/test_network; FILLMASK_ISA chooses the instruction set)
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import DistilBertForMaskedLM
from transformers.utils import logging

from network_golden import ROOT, random_model, write_golden

CONFIG = dict(vocab_size=30522, dim=768, n_heads=12, n_layers=6, hidden_dim=3072, max_position_embeddings=512,
              dropout=0.0, attention_dropout=0.0)
LENGTHS = [128, 77, 1, 40, 130]
# 0.06 spreads attention's scores by about 3 and the logits by about 2, as a trained model does.
DEVIATION = 0.06
STEPS = 3


def main():
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/test_network").resolve()
    logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(30522)
    with tempfile.TemporaryDirectory() as folder:
        made = random_model(CONFIG, DEVIATION, generator)
        made.save_pretrained(folder)
        saved = load_file(f"{folder}/model.safetensors")
        model = DistilBertForMaskedLM.from_pretrained(folder, attn_implementation="eager")
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, saved[name]), name
        del made, saved
        masked = [torch.randperm(n, generator=generator)[: round(0.15 * n)].tolist() for n in LENGTHS]
        golden = f"{folder}/golden.safetensors"
        write_golden(golden, model, LENGTHS, masked, STEPS, generator)
        del model
        sys.exit(subprocess.run([program], env=os.environ | {"FILLMASK_GOLDEN": golden}, cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
