#!/usr/bin/env python3
"""Writes tests/golden/network.safetensors: what PyTorch computes with a small random DistilBertForMaskedLM, in double
precision, for tests/c/test_network.c. Needs torch, transformers and safetensors; the numbers depend on the seed and,
in their last digits, on the version of PyTorch. Nothing of Fillmask runs here. network_full.py does the same with a
model of full size.

The file holds, as F32: the parameters under their own names; a batch packed end to end (ids, starts, rows, labels);
logits of the masked rows and the mean loss; "grad." and each parameter's name, its gradient; learning_rates and losses
of AdamW steps on that batch; "after." and each parameter's name, its values after them; steps_off, the largest error of
those that PyTorch computes in single precision, as a part of the rates' sum, and how many exceed STEP_WITHIN. Adam
turns the rounding of a gradient that is hardly more than it into a whole step. Its metadata has the model's
config.json as "config".

Usage: network_golden.py [FILE]
"""

import copy
import json
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
STEP_WITHIN = 1e-2  # as in test_network.c


def random_model(config, deviation, generator):
    """Large weights, so that attention is far from uniform and every gradient is far from zero."""
    model = DistilBertForMaskedLM(DistilBertConfig(**config, attn_implementation="eager"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            norms = "layer_norm.weight" in name or "LayerNorm.weight" in name
            parameter.copy_(1 + 0.3 * noise if norms else deviation * noise)
    return model


def random_batch(vocabulary, lengths, masked, generator):
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    attention = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, length in enumerate(lengths):
        # Few different ids, so that most occur several times; not 0, whose embedding PyTorch does not train.
        ids[i, :length] = torch.randint(1, 30, (length,), generator=generator)
        attention[i, :length] = 1
        for at in masked[i]:
            labels[i, at] = torch.randint(1, vocabulary, (1,), generator=generator)
    return ids, attention, labels


def optimize(model, batch, steps):
    decays = lambda name: not name.endswith("bias") and "layer_norm" not in name and "LayerNorm" not in name
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW([{"params": [p for n, p in named if decays(n)], "weight_decay": 0.01},
                                   {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0}], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    rates, losses = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rates.append(schedule.get_last_lr()[0])
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
    return rates, losses


def write_golden(path, model, lengths, masked, steps, generator):
    """What `model`, whose parameters are F32, computes in double precision, and how far its steps are off in single."""
    single = copy.deepcopy(model).train()
    model = model.double().train()
    ids, attention, labels = random_batch(model.config.vocab_size, lengths, masked, generator)
    batch = {"input_ids": ids, "attention_mask": attention, "labels": labels}
    kept = attention.bool()
    packed_labels = labels[kept]
    rows = (packed_labels != -100).nonzero().flatten()
    out = {"ids": ids[kept], "starts": torch.tensor([0] + lengths).cumsum(0), "rows": rows,
           "labels": packed_labels[rows]}
    # Converted at once: the next steps change the parameters in place.
    out |= {name: parameter.detach().float() for name, parameter in model.named_parameters()}
    result = model(**batch)
    result.loss.backward()
    out["logits"] = result.logits[kept][rows].detach()
    out["loss"] = result.loss.detach().reshape(1)
    norm = sum((parameter.grad ** 2).sum() for parameter in model.parameters()) ** 0.5
    out |= {"grad." + name: parameter.grad.float() for name, parameter in model.named_parameters()}
    rates, losses = optimize(model, batch, steps)
    out["learning_rates"], out["losses"] = torch.tensor(rates), torch.tensor(losses)
    out |= {"after." + name: parameter.detach().float() for name, parameter in model.named_parameters()}
    optimize(single, batch, steps)
    off = [(parameter.detach() - out["after." + name]).abs() / sum(rates)
           for name, parameter in single.named_parameters() if not name.endswith("k_lin.bias")]
    out["steps_off"] = torch.stack([torch.stack([x.max() for x in off]).max(),
                                    sum((x > STEP_WITHIN).sum() for x in off).float()])
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.float().contiguous() for name, value in out.items()}, path,
              metadata={"config": json.dumps(model.config.to_dict())})
    print(f"{path}: loss {result.loss.item():.4f}, gradient norm {norm:.4f}, losses {losses[0]:.4f} to {losses[-1]:.4f}")


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests/golden/network.safetensors"
    generator = torch.Generator().manual_seed(20240)
    write_golden(path, random_model(CONFIG, 0.3, generator), LENGTHS, MASKED, STEPS, generator)


if __name__ == "__main__":
    main()
