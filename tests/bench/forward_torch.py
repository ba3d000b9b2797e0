#!/usr/bin/env python3
"""PyTorch's side of forward.mjs: DistilBertForMaskedLM with random weights in f32, its head on one row. For each line
of stdin, a number of runs, it prints {"median_ms", "best_ms"} of them. Nothing is compared here.

Usage: forward_torch.py THREADS TOKENS
"""

import json
import statistics
import sys
import time

import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM


def main():
    threads, tokens = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(42)
    config = DistilBertConfig(max_position_embeddings=max(512, tokens), attn_implementation="sdpa")
    model = DistilBertForMaskedLM(config).eval()
    ids, row = torch.randint(0, config.vocab_size, (1, tokens)), tokens // 2

    def run():
        hidden = model.distilbert(ids).last_hidden_state[:, row]
        hidden = model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
        return model.vocab_projector(hidden)

    with torch.inference_mode():
        for line in sys.stdin:
            run()
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                run()
                times.append(1e3 * (time.perf_counter() - start))
            print(json.dumps({"median_ms": statistics.median(times), "best_ms": min(times)}), flush=True)


if __name__ == "__main__":
    main()
