#!/usr/bin/env python3
"""What `fillmask train` leaves behind, in transformers: DistilBertForMaskedLM and AutoTokenizer load the folder, the
logits at a mask are those that `fillmask fill` computes from it, and the card's front matter is one that Hugging Face's
hub reads. The model is small and trained here, on texts made here. Needs torch, transformers, safetensors and a built fillmask.

Usage: training_folder.py [FILLMASK]   (default build/fillmask)
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForMaskedLM, AutoTokenizer, DistilBertForMaskedLM
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = 20
PROMPTS = ["The [MASK] was good.", "A film with a [MASK] story, and its [MASK] was bad.", "[MASK]!"]


def run(program, *arguments):
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def write_texts(path):
    draw = random.Random(1)
    films, words = ["movie", "film", "story", "picture"], ["good", "bad", "boring", "great", "funny"]
    with open(path, "w") as file:
        for i in range(400):
            text = (f"The {draw.choice(films)} was {draw.choice(words)}, and its plot was {draw.choice(words)}. "
                    f"We saw it in {draw.randrange(1950, 2000)}.")
            file.write(json.dumps({"id": i, "text": text}) + "\n")


def check_fillings(program, folder):
    """The most probable tokens of every mask. Returns how many were compared, and the largest difference in nats."""
    model = DistilBertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    count, worst = 0, 0.0
    for prompt in PROMPTS:
        answer = json.loads(run(program, "fill", "-m", folder, "--json", "-k", TOP, "--special", "--pieces", prompt))
        batch = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            logs = torch.log_softmax(model(**batch).logits[0].double(), -1)
        places = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
        masks = answer if isinstance(answer[0], list) else [answer]
        assert len(masks) == len(places), (prompt, answer)
        for place, fillings in zip(places, masks):
            assert len(fillings) == TOP
            for filling in fillings:
                difference = abs(logs[place, filling["token"]].item() - filling["log_probability"])
                worst = max(worst, difference)
                count += 1
            best = logs[place].topk(TOP).values.min().item()
            assert all(filling["log_probability"] > best - 1e-4 for filling in fillings), prompt
    assert worst < 1e-4, worst
    return count, worst


def main():
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/fillmask").resolve()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_texts(folder / "data.jsonl")
        run(program, "train-vocab", "--data", folder / "data.jsonl", "-o", folder / "tokens", "--size", 150, "-q")
        for precision in ("f32", "bf16"):
            out = folder / f"tuned-{precision}"
            run(program, "train", "--tokenizer", folder / "tokens", "--layers", 2, "--hidden", 32, "--heads", 2,
                "--positions", 64, "--data", folder / "data.jsonl", "--length", 32, "--batch", 16, "--steps", 150,
                "--learning-rate", 5e-3, "--warmup", 0.1, "--eval-chunks", 20, "--precision", precision, "-q", "-o", out)
            assert isinstance(AutoModelForMaskedLM.from_pretrained(out), DistilBertForMaskedLM)
            count, worst = check_fillings(program, out)
            card = ModelCard.load(out / "README.md")
            assert card.data.pipeline_tag == "fill-mask" and card.data.library_name == "transformers", card.data
            print(f"{precision}: {count} log-probabilities agree with transformers within {worst:.1e} nats")


if __name__ == "__main__":
    main()
