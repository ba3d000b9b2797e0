"""Writes the expected numbers of tests/vectors from transformers and PyTorch in double precision: scores, fillings and
sentence vectors of the tiny model. Letter case, plain words and rows have no outside reference and are kept by hand.
Augmentation has none either: with --record its cases get what build/fillmask gives now, to be read before they are
committed; they are there so that all builds draw the same.

Run from the root of the repository: python tests/differential/tasks_vectors.py [--record]
"""
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import BertTokenizerFast, DistilBertForMaskedLM

FOLDER = Path("tests/vectors")
LONG = ("The movie was good and the plot was clever. We saw it in Paris last night, and it was moving. "
        "Anna hated this boring show! Rome is the capital of Italy. What a dull scene, what a lazy script!")
TEXTS = ["This movie was really good.", "I  loved\n\nthe Script twice!", "good", "Don't watch it: the cast isn't warm.",
         "The capital of Norway is \u00d3slo, not B\u00e9rlin.", "unheardofness \u2603 2024",
         "A [MASK] movie [SEP] and more.", LONG]

tokenizer = BertTokenizerFast.from_pretrained(FOLDER / "model")
model = DistilBertForMaskedLM.from_pretrained(FOLDER / "model", dtype=torch.float64).eval()
LENGTH = model.config.max_position_embeddings - 2


def run(ids):
    ids = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    return out.logits[0, 1:-1].log_softmax(-1), out.hidden_states[-1][0]


def window(count, place):
    """Where the window starts that has the place in its middle, as far as the ends allow."""
    return max(0, min(place - LENGTH // 2, count - LENGTH)) if count > LENGTH else 0


def byte_offsets(text, pair):
    return [len(text[:at].encode()) for at in pair]


def score(text, method):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, words = encoded["input_ids"], encoded.word_ids()
    tokens = []
    for place, token in enumerate(ids):
        if tokenizer.convert_ids_to_tokens(token) in ("[MASK]", "[SEP]"):
            continue
        start = window(len(ids), place)
        copy = [tokenizer.mask_token_id if i == place or (method == "word" and i > place and words[i] == words[place])
                else ids[i] for i in range(len(ids))]
        row = run(copy[start:start + LENGTH])[0][place - start]
        begin, end = byte_offsets(text, encoded["offset_mapping"][place])
        tokens.append({"token": token, "start": begin, "end": end, "log_probability": round(row[token].item(), 7)})
    return {"text": text, "method": method, "score": round(sum(t["log_probability"] for t in tokens), 6),
            "tokens": tokens}


AUGMENTED = [
    ("This movie was really good.", {"variants": 3}),
    ("The director loved it. \"I  didn't\" like THE BAD PLOT,\n\tbut <b>everyone</b> enjoyed 3.5 hours!", {"rate": 0.5}),
    ("The director loved it. \"I  didn't\" like THE BAD PLOT,\n\tbut <b>everyone</b> enjoyed 3.5 hours!",
     {"rate": 0.5, "action": "insert", "seed": 7}),
    ("The director loved it. \"I  didn't\" like THE BAD PLOT,\n\tbut <b>everyone</b> enjoyed 3.5 hours!",
     {"rate": 0.3, "action": "delete", "variants": 2}),
    ("What a warm picture about Rome!", {"temperature": 0, "rate": 0.4}),
    ("What a warm picture about Rome!", {"top_k": 3, "rate": 1, "variants": 4, "seed": 123456789012}),
    ("What a warm picture about Rome!", {"top_k": 0, "top_p": 0.7, "temperature": 1.5, "rate": 1, "variants": 2}),
    (LONG, {"rate": 0.3, "variants": 2}),
    (LONG, {"rate": 0.3, "action": "insert"}),
    (LONG, {"rate": 0.3, "action": "delete"}),
    ("42 http://a.b/c don't", {}),
]


def augment(text, options):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    done = subprocess.run(["build/fillmask", "augment", "-m", FOLDER / "model", "--json", *flags, text], check=True,
                          capture_output=True, text=True)
    return {"text": text, **options, "result": json.loads(done.stdout)["variants"]}


def write(name, cases):
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    (FOLDER / f"{name}.json").write_text(f"[\n  {lines}\n]\n")


write("score", [score(text, method) for text in TEXTS for method in ("word", "token")])
if "--record" in sys.argv:
    write("augment", [augment(text, options) for text, options in AUGMENTED])
