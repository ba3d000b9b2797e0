#!/usr/bin/env python3
"""Writes tests/golden/network.safetensors: what PyTorch computes with a small random DistilBertForMaskedLM, in double
precision, for tests/c/test_network.c. Needs torch, transformers and safetensors; the numbers depend on the seed and,
in their last digits, on the version of PyTorch. Nothing of Fillmask runs here.

The file holds, as F32: the parameters under their own names; a batch packed end to end (ids, starts, rows, labels);
logits of the masked rows and the mean loss; "grad." and each parameter's name, its gradient; learning_rates and losses
of ten AdamW steps on that batch; "after." and each parameter's name, its values after them.

Usage: network_golden.py [FILE]
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import DistilBertConfig, DistilBertForMaskedLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = dict(vocab_size=61, dim=24, n_heads=3, n_layers=2, hidden_dim=40, max_position_embeddings=16, dropout=0.0,
              attention_dropout=0.0)
LENGTHS = [16, 5, 1, 9, 12]
# Masked positions of each sequence: one sequence has none, one has nothing else.
MASKED = [[1, 2, 7, 15], [0, 4], [0], [], [3, 5, 6, 11]]
STEPS = 10


def random_model(generator):
    """Large weights, so that attention is far from uniform and every gradient is far from zero."""
    model = DistilBertForMaskedLM(DistilBertConfig(**CONFIG, attn_implementation="eager")).double().train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if "layer_norm.weight" in name or "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)
            # What is stored as F32 is exactly what is computed with.
            parameter.copy_(parameter.float().double())
    return model


def random_batch(generator):
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    attention = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, length in enumerate(LENGTHS):
        # Few different ids, so that most occur several times; not 0, whose embedding PyTorch does not train.
        ids[i, :length] = torch.randint(1, 30, (length,), generator=generator)
        attention[i, :length] = 1
        for at in MASKED[i]:
            labels[i, at] = torch.randint(1, CONFIG["vocab_size"], (1,), generator=generator)
    return ids, attention, labels


def ten_steps(model, ids, attention, labels):
    decays = lambda name: not name.endswith("bias") and "layer_norm" not in name and "LayerNorm" not in name
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW([{"params": [p for n, p in named if decays(n)], "weight_decay": 0.01},
                                   {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    rates, losses = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(input_ids=ids, attention_mask=attention, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rates.append(schedule.get_last_lr()[0])
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
    return rates, losses


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests/golden/network.safetensors"
    generator = torch.Generator().manual_seed(20240)
    model = random_model(generator)
    ids, attention, labels = random_batch(generator)
    kept = attention.bool()
    packed_labels = labels[kept]
    rows = (packed_labels != -100).nonzero().flatten()
    out = {"ids": ids[kept], "starts": torch.tensor([0] + LENGTHS).cumsum(0), "rows": rows,
           "labels": packed_labels[rows]}
    out |= {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    result = model(input_ids=ids, attention_mask=attention, labels=labels)
    result.loss.backward()
    out["logits"] = result.logits[kept][rows].detach()
    out["loss"] = result.loss.detach().reshape(1)
    out |= {"grad." + name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    rates, losses = ten_steps(model, ids, attention, labels)
    out["learning_rates"], out["losses"] = torch.tensor(rates), torch.tensor(losses)
    out |= {"after." + name: parameter.detach() for name, parameter in model.named_parameters()}
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.float().contiguous() for name, value in out.items()}, path)
    norm = sum((value.double() ** 2).sum() for name, value in out.items() if name.startswith("grad.")) ** 0.5
    print(f"{path}: loss {result.loss.item():.4f}, gradient norm {norm:.4f}, losses {losses[0]:.4f} to {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
