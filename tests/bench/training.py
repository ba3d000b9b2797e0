#!/usr/bin/env python3
"""A training step in f32 (forward, backward, clipping, AdamW; the head on the masked rows only, no dropout):
`fillmask bench --train` against PyTorch with transformers' DistilBertForMaskedLM, for DistilBERT's shape and a small
one. Every round measures both, one after the other; a ratio is the median of the rounds' ratios. See README.md.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {
    "distilbert": {"layers": 6, "hidden": 768, "heads": 12, "vocab": 30522},
    "small": {"layers": 4, "hidden": 256, "heads": 4, "vocab": 16000},
}


def run_fillmask(options, shape, threads):
    sizes = shape | {"batch": options.batch, "tokens": options.tokens, "threads": threads, "repeat": options.repeat}
    command = [options.program, "bench", "--train", "--json"]
    for name, value in sizes.items():
        command += [f"--{name}", str(value)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


class Peer:
    """PyTorch's best: scaled_dot_product_attention, the fused AdamW, gradients set to None."""

    def __init__(self, options, shape):
        torch.manual_seed(42)
        config = DistilBertConfig(vocab_size=shape["vocab"], dim=shape["hidden"], hidden_dim=4 * shape["hidden"],
                                  n_layers=shape["layers"], n_heads=shape["heads"], dropout=0.0, attention_dropout=0.0,
                                  max_position_embeddings=options.tokens, attn_implementation="sdpa")
        self.model = DistilBertForMaskedLM(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
        rows = options.batch * options.tokens
        masked = int(0.15 * rows + 0.5)
        self.ids = torch.randint(0, shape["vocab"], (options.batch, options.tokens))
        self.rows = torch.arange(masked) * rows // masked
        self.labels = torch.randint(0, shape["vocab"], (masked,))

    def step(self):
        model = self.model
        hidden = model.distilbert(self.ids).last_hidden_state.flatten(0, 1)[self.rows]
        hidden = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
        loss = torch.nn.functional.cross_entropy(model.vocab_projector(hidden), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def measure(self, repeat):
        self.step()  # not counted, as in fillmask's
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            self.step()
            times.append(1e3 * (time.perf_counter() - start))
        return {"median_ms": statistics.median(times), "best_ms": min(times)}


def compare(options, name, threads):
    torch.set_num_threads(threads)
    peer = Peer(options, SHAPES[name])
    ours, theirs = [], []
    for i in range(options.rounds):
        ours.append(run_fillmask(options, SHAPES[name], threads))
        theirs.append(peer.measure(options.repeat))
        print(f"\r{name}, {threads} threads: round {i + 1} of {options.rounds} ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    ratios = [b["median_ms"] / a["median_ms"] for a, b in zip(ours, theirs)]
    middle = lambda figures, key: statistics.median(x[key] for x in figures)
    peak, gflop = middle(ours, "peak_gflops"), ours[0]["product_gflop"]
    return {
        "shape": name, "threads": threads, "instruction_set": ours[0]["instruction_set"], "peak_gflops": peak,
        "product_gflop": gflop,
        "fillmask_ms": middle(ours, "median_ms"), "peer_ms": middle(theirs, "median_ms"),
        "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
        "fillmask_best_ms": min(x["best_ms"] for x in ours), "peer_best_ms": min(x["best_ms"] for x in theirs),
        "share_of_peak": middle(ours, "share_of_peak"),
        "share_of_peak_in_products": middle(ours, "share_of_peak_in_products"),
        "peer_share_of_peak": gflop / middle(theirs, "median_ms") * 1e3 / peak,
    }


def print_table(rows):
    print("| shape | threads | fillmask ms | PyTorch ms | ratio (least to most) | best: fillmask ms | PyTorch ms | ratio "
          "| of peak: fillmask | within products | PyTorch |")
    print("|---" * 11 + "|")
    for x in rows:
        print(f"| {x['shape']} | {x['threads']} | {x['fillmask_ms']:.0f} | {x['peer_ms']:.0f} | {x['ratio']:.2f} "
              f"({x['ratio_least']:.2f} to {x['ratio_most']:.2f}) | {x['fillmask_best_ms']:.0f} "
              f"| {x['peer_best_ms']:.0f} | {x['peer_best_ms'] / x['fillmask_best_ms']:.2f} "
              f"| {x['share_of_peak']:.0%} | {x['share_of_peak_in_products']:.0%} | {x['peer_share_of_peak']:.0%} |")
    print("A ratio above 1: fillmask is faster.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of which measures both once (default 5)")
    parser.add_argument("--repeat", type=int, default=5, help="steps a round (default 5)")
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step (default 16)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a sequence (default 128)")
    parser.add_argument("--program", default=ROOT / "build/fillmask", help="fillmask (default build/fillmask)")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    options = parser.parse_args()
    rows = [compare(options, name, threads) for name in options.shapes for threads in options.threads]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
