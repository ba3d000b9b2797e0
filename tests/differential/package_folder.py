#!/usr/bin/env python3
"""What the npm package's `Model.files()` gives after a training in WebAssembly, in transformers: DistilBertForMaskedLM and
AutoTokenizer load the folder in each type of number, and its log-probabilities at masks are those that the package
computes from it. The training is of the default model, on texts made here. Needs torch, transformers, Node.js and the
WebAssembly build.

Usage: package_folder.py [NODE]   (default node)
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoTokenizer, DistilBertForMaskedLM
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = 20
PROMPTS = ["The [MASK] was good.", "A film with a [MASK] story, and its [MASK] was bad.", "[MASK]!", "Über den [MASK] 日本."]

# Trains, saves in each type, opens what was saved, and prints what it makes of the prompts.
SCRIPT = """
import { mkdirSync, writeFileSync } from 'node:fs';
const [entry, folder, prompts, top] = JSON.parse(process.argv[1]);
const { loadModel, Trainer } = await import(entry);
const model = await loadModel(undefined, { device: 'wasm' });
const data = Array.from({ length: 200 }, (_, i) => `The ${['film', 'story', 'plot'][i % 3]} was ${['dull', 'great'][i % 2]}, we saw it in ${1950 + i % 60}.`);
const trainer = new Trainer(model, { data, length: 64, batch_size: 8, learning_rate: 5e-4, seed: 3 });
const losses = [];
for await (const { loss } of trainer) losses.push(loss);
await trainer.apply();
const found = { losses };
for (const dtype of ['fp32', 'fp16', 'bf16']) {
  const path = `${folder}/${dtype}`;
  mkdirSync(path);
  for (const file of await model.files({ dtype })) writeFileSync(`${path}/${file.name}`, new Uint8Array(await file.arrayBuffer()));
  const saved = await loadModel(path, { device: 'wasm' });
  found[dtype] = [];
  for (const prompt of prompts) {
    const answer = await saved.fill(prompt, { top_k: top, special: true, pieces: true });
    found[dtype].push(Array.isArray(answer[0]) ? answer : [answer]);
  }
  await saved.dispose();
}
console.log(JSON.stringify(found));
"""


def compare(folder, answers):
    """Returns how many log-probabilities were compared, and the largest difference in nats."""
    model = DistilBertForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    count, worst = 0, 0.0
    for prompt, masks in zip(PROMPTS, answers):
        batch = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            logs = torch.log_softmax(model(**batch).logits[0].double(), -1)
        places = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
        assert len(masks) == len(places), (prompt, masks)
        for place, fillings in zip(places, masks):
            assert len(fillings) == TOP
            best = logs[place].topk(TOP).values.min().item()
            for filling in fillings:
                worst = max(worst, abs(logs[place, filling["token"]].item() - filling["log_probability"]))
                assert filling["log_probability"] > best - 1e-4, prompt
                count += 1
    assert worst < 1e-4, worst
    return count, worst


def main():
    node = sys.argv[1] if len(sys.argv) > 1 else "node"
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps([(ROOT / "web/index-node.js").as_uri(), folder, PROMPTS, TOP])
        result = subprocess.run([node, "--input-type=module", "-e", SCRIPT, given], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        losses = found["losses"]
        assert losses[-1] < 0.8 * losses[0], losses
        for dtype in ("fp32", "fp16", "bf16"):
            count, worst = compare(f"{folder}/{dtype}", found[dtype])
            print(f"{dtype}: {count} log-probabilities, the largest difference is {worst:.1e} nats")
    print(f"trained in WebAssembly, {len(losses)} steps, loss {losses[0]:.2f} to {losses[-1]:.2f}; transformers agrees")


if __name__ == "__main__":
    main()
