#!/usr/bin/env python3
"""A training step (forward, backward, clipping, AdamW, dropout 0.1): `fillmask bench --train` against PyTorch with
transformers' DistilBertForMaskedLM, each in f32 and in mixed precision (bf16), PyTorch with the head on all rows, as
its users run it, and on the masked rows only, as Fillmask has it. Each measurement is a process of its own, so that its
peak memory is known. Every round measures all of them, one after the other; a ratio is the median of the rounds'
ratios. See README.md.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {
    "distilbert": {"layers": 6, "hidden": 768, "heads": 12, "vocab": 30522},
    "small": {"layers": 4, "hidden": 256, "heads": 4, "vocab": 16000},
}


def measure_fillmask(options, shape, precision):
    sizes = SHAPES[shape] | {name: getattr(options, name) for name in
                             ("batch", "micro", "tokens", "dropout", "threads", "repeat")}
    command = [options.program, "bench", "--train", "--json", "--precision", precision]
    for name, value in sizes.items():
        command += [f"--{name}", str(value)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure_peer(options, shape, precision, head):
    """In another process; see be_peer."""
    command = [sys.executable, __file__, "--peer", shape, precision, head]
    for name in ("batch", "tokens", "dropout", "threads", "repeat"):
        command += [f"--{name}", str(getattr(options, name))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def be_peer(options, shape, precision, head):
    """PyTorch's best: scaled_dot_product_attention, the fused AdamW, gradients set to None, bf16 autocast."""
    import torch
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    torch.manual_seed(42)
    torch.set_num_threads(options.threads)
    sizes = SHAPES[shape]
    config = DistilBertConfig(vocab_size=sizes["vocab"], dim=sizes["hidden"], hidden_dim=4 * sizes["hidden"],
                              n_layers=sizes["layers"], n_heads=sizes["heads"], dropout=options.dropout,
                              attention_dropout=options.dropout, max_position_embeddings=options.tokens,
                              attn_implementation="sdpa")
    model = DistilBertForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    count = options.batch * options.tokens
    masked = int(0.15 * count + 0.5)
    ids = torch.randint(0, sizes["vocab"], (options.batch, options.tokens))
    rows = torch.arange(masked) * count // masked
    labels = torch.full((count,), -100)
    labels[rows] = torch.randint(0, sizes["vocab"], (masked,))

    def loss_of_step():
        if head == "all":
            return model(input_ids=ids, labels=labels.view(options.batch, options.tokens)).loss
        hidden = model.distilbert(ids).last_hidden_state.flatten(0, 1)[rows]
        hidden = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
        return torch.nn.functional.cross_entropy(model.vocab_projector(hidden), labels[rows])

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of_step()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    step()  # not counted, as in fillmask's
    times = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"median_ms": statistics.median(times), "best_ms": min(times),
                      "tokens_per_second": 1e3 * count / statistics.median(times),
                      "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6}))


def compare(options, shape):
    """One row a side, with its medians, and how many times faster Fillmask's fastest is, in the same round."""
    sides = {("fillmask", precision, "masked"): lambda p=precision: measure_fillmask(options, shape, p)
             for precision in options.precisions}
    sides |= {("pytorch", precision, head): lambda p=precision, h=head: measure_peer(options, shape, p, h)
              for precision in options.precisions for head in options.heads}
    seen = {side: [] for side in sides}
    for i in range(options.rounds):
        for side, measure in sides.items():
            note = f"\r{shape}: round {i + 1} of {options.rounds}, {' '.join(side):30}"
            print(note, end="", file=sys.stderr, flush=True)
            seen[side].append(measure())
    print(file=sys.stderr)
    middle = lambda side, key: statistics.median(x[key] for x in seen[side])
    ours = min((side for side in sides if side[0] == "fillmask"), key=lambda side: middle(side, "median_ms"))
    rows = []
    for side, figures in seen.items():
        ratios = [x["median_ms"] / y["median_ms"] for x, y in zip(figures, seen[ours])]
        row = {"shape": shape, "program": side[0], "precision": side[1], "head": side[2], "threads": options.threads,
               "step_ms": middle(side, "median_ms"), "best_ms": min(x["best_ms"] for x in figures),
               "tokens_per_second": middle(side, "tokens_per_second"), "memory_mb": middle(side, "peak_memory_mb"),
               "ratio": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
               "ratio_of_bests": min(x["best_ms"] for x in figures) / min(x["best_ms"] for x in seen[ours]),
               "fillmask_memory_share": middle(ours, "peak_memory_mb") / middle(side, "peak_memory_mb")}
        for key in ("instruction_set", "peak_gflops", "share_of_peak", "share_of_peak_in_products"):
            if key in figures[0]:
                row[key] = figures[0][key] if key == "instruction_set" else middle(side, key)
        rows.append(row)
    return rows


def print_table(rows):
    print("| shape | side | head on | ms a step | tokens/s | times Fillmask's best (least to most; of bests) "
          "| memory | Fillmask's is of that | of peak | within products |")
    print("|---" * 10 + "|")
    for x in rows:
        peak = f"{x['share_of_peak']:.0%} | {x['share_of_peak_in_products']:.0%}" if "share_of_peak" in x else " | "
        print(f"| {x['shape']} | {x['program']} {x['precision']} | {x['head']} | {x['step_ms']:.0f} "
              f"| {x['tokens_per_second']:.0f} | {x['ratio']:.2f} ({x['ratio_least']:.2f} to {x['ratio_most']:.2f}; "
              f"{x['ratio_of_bests']:.2f}) | {x['memory_mb'] / 1e3:.2f} GB | {x['fillmask_memory_share']:.0%} "
              f"| {peak} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["distilbert"])
    parser.add_argument("--precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--heads", nargs="+", choices=["masked", "all"], default=["masked", "all"],
                        help="rows of PyTorch's head (default both kinds)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each of which measures all once (default 3)")
    parser.add_argument("--repeat", type=int, default=3, help="steps a round (default 3)")
    parser.add_argument("--batch", type=int, default=64, help="sequences of a step (default 64)")
    parser.add_argument("--micro", type=int, default=16, help="of them that Fillmask takes at once (default 16)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a sequence (default 128)")
    parser.add_argument("--dropout", type=float, default=0.1, help="(default 0.1)")
    parser.add_argument("--program", default=ROOT / "build/fillmask", help="fillmask (default build/fillmask)")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        be_peer(options, *options.peer)
        return
    rows = [row for shape in options.shapes for row in compare(options, shape)]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
