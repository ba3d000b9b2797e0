"""Compares `fillmask score` with a slow, obviously right loop: every token of real sentences is masked in a copy of its
own, which goes through transformers' DistilBertForMaskedLM alone, in double precision. Words of several pieces are
masked as each method says. The weights are those of the default model in f32 (`fillmask quantize`).

Run from the root of the repository: python tests/differential/tasks_score.py [TEXTS.jsonl[.xz]] [COUNT]
"""
import json
import lzma
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, DistilBertForMaskedLM

PROGRAM = "build/fillmask"
SENTENCES = ["The capital of France is banana.", "He likes tea.", "I  can't believe it's not butter!!!",
             "Unforgettably kaleidoscopic antiestablishmentarianism.", "na\u00efve caf\u00e9 \u2603", "a"]
TOLERANCE = 1e-5  # of a token's nats, or of one nat if it has fewer


def slow(model, tokenizer, text, method):
    encoded = tokenizer(text)
    ids, words = encoded["input_ids"], encoded.word_ids()
    scores = []
    for place in range(1, len(ids) - 1):
        copy = list(ids)
        for i in range(place, len(ids) - 1 if method == "word" else place + 1):
            if words[i] == words[place]:
                copy[i] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(torch.tensor([copy])).logits[0, place]
        scores.append(logits.log_softmax(-1)[ids[place]].item())
    return scores


def main():
    torch.set_num_threads(1)
    sentences = list(SENTENCES)
    if len(sys.argv) > 1:
        with (lzma.open if sys.argv[1].endswith(".xz") else open)(sys.argv[1], "rt") as file:
            for line in file:
                sentences.append(" ".join(json.loads(line)["text"].split()[:40]))
                if len(sentences) == len(SENTENCES) + int(sys.argv[2] if len(sys.argv) > 2 else 20):
                    break
    worst, tokens = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / "f32"
        default = Path("weights", Path("weights/default").read_text().strip())
        subprocess.run([PROGRAM, "quantize", "-m", default, "--dtype", "f32", "-o", folder, "-q"], check=True,
                       capture_output=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = DistilBertForMaskedLM.from_pretrained(folder, dtype=torch.float64).eval()
        for method in ["word", "token"]:
            done = subprocess.run([PROGRAM, "score", "-m", folder, "--json", "--mask", method, "--", *sentences],
                                  check=True, capture_output=True, text=True)
            for sentence, found in zip(sentences, json.loads(done.stdout)):
                expected = slow(model, tokenizer, sentence, method)
                given = [token["log_probability"] for token in found["tokens"]]
                assert len(given) == len(expected), sentence
                worst = max([worst, *(abs(a - b) / max(1.0, abs(b)) for a, b in zip(given, expected))])
                tokens += len(given)
    print(f"{len(sentences)} sentences, {tokens} tokens: at most {worst:.2e} apart")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
