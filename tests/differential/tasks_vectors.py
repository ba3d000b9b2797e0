"""Writes the expected numbers of tests/vectors from transformers and PyTorch in double precision: scores, fillings and
sentence vectors of the tiny model. Letter case, plain words and rows have no outside reference and are kept by hand.
Augmentation and drawn fillings have none either: with --record their cases get what build/fillmask gives now, to be
read before they are committed; they are there so that all builds draw the same.

Run from the root of the repository: python tests/differential/tasks_vectors.py [--record]
"""
import functools
import json
import re
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


@functools.lru_cache(maxsize=None)
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
        row = run(tuple(copy[start:start + LENGTH]))[0][place - start]
        begin, end = byte_offsets(text, encoded["offset_mapping"][place])
        tokens.append({"token": token, "start": begin, "end": end, "log_probability": round(row[token].item(), 7)})
    return {"text": text, "method": method, "score": round(sum(t["log_probability"] for t in tokens), 6),
            "tokens": tokens}


# ---- fill ----

MASK = tokenizer.mask_token_id
CASES = {"lower": str.lower, "upper": str.upper, "title": lambda word: word[:1].upper() + word[1:]}
LONG_MASKS = LONG.replace("clever", "[MASK]").replace("boring", "[MASK]").replace("lazy", "[MASK]")
LOOSE = LONG.replace("moving", "[MASK][MASK]")

# Texts, the case that each mask's place asks for, and options as the program has them.
FILLED = [
    ("This movie was [MASK].", ["lower"], {}),
    ("[MASK]  MOVIE  was [MASK],\nreally [MASK]!", ["upper", "lower", "lower"], {"top_k": 2}),
    ("THIS [MASK] WAS [MASK]!", ["upper", "upper"], {"top_k": 3, "match": "^[a-m]"}),
    ("Caf\u00e9 \u2603: the [MASK] was good. [MASK] loved it", ["lower", "title"], {"match": "ing$"}),
    ("This movie was [MASK].", ["lower"], {"exclude": ["Weak", "loud", "unheard of"], "top_k": 3}),
    ("[MASK] is the capital of [MASK].", ["title", "lower"],
     {"mode": "joint", "top_k": 2, "match": "^[^aeiou]*[aeiou]", "exclude": ["oslo"]}),
    ("I saw it in [MASK]", ["lower"], {"targets": ["Paris", "rome", "movie"]}),
    ("Nobody [MASK] this movie.", ["lower"], {"targets": ["loved", "hated", "liked", "lov", "unheard of", "loved", "##ed"]}),
    ("[MASK] [MASK] this movie.", ["title", "lower"], {"targets": ["loved", "everyone", "the actor"], "top_k": 2}),
    ("The act [MASK] was good.", ["lower"], {"pieces": True, "match": "^##", "top_k": 3}),
    ("good [MASK]", ["lower"], {"special": True, "pieces": True, "top_k": 260}),
    (LONG_MASKS, ["lower", "lower", "lower"], {"top_k": 3}),
    (LOOSE, ["lower", "lower"], {"targets": ["really good", "moving"]}),
    ("[MASK] is the capital of [MASK].", ["title", "lower"], {"mode": "joint", "beams": 260}),
    ("[MASK] [MASK] [MASK] was [MASK] good.", ["title", "lower", "lower", "lower"], {"mode": "joint", "beams": 4}),
    ("[MASK] is the capital of [MASK].", ["title", "lower"],
     {"mode": "joint", "targets": ["norway", "oslo", "england", "london", "the united states"], "top_k": 3}),
    (LONG_MASKS, ["lower", "lower", "lower"], {"mode": "joint", "beams": 2, "top_k": 2, "match": "y$"}),
]
SAMPLED = [
    ("[MASK] [MASK] [MASK] was [MASK].", {"seed": 3}),
    ("THIS [MASK] WAS [MASK]!", {"temperature": 0.5, "top_p": 0.8, "top_k": 4}),
    ("I [MASK] the movie.", {"targets": ["loved", "hated", "really enjoyed"], "temperature": 3, "draw_from": 2, "seed": 12345678901}),
]


def choices(options):
    """Tokens of each choice, and the word for it: the targets, or what the filters leave of the vocabulary."""
    if "targets" in options:
        words = list(dict.fromkeys(options["targets"]))
        return [([tokenizer.convert_tokens_to_ids(word)] if word.startswith("##")
                 else tokenizer(word, add_special_tokens=False)["input_ids"], word) for word in words]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return [([i], token) for i, token in enumerate(tokens)
            if re.search(options.get("match", ""), token)
            and token not in [word.lower() for word in options.get("exclude", [])]
            and (options.get("special") or i not in tokenizer.all_special_ids)
            and (options.get("pieces") or not token.startswith("##"))]


def log_probability(ids, mask, tokens):
    """Of tokens in the place of one mask of the ids: from left to right, those to come masked."""
    total = 0.0
    for known in range(len(tokens)):
        shown = ids[:mask] + tokens[:known] + [MASK] * (len(tokens) - known) + ids[mask + 1:]
        start = window(len(shown), mask + known)
        total += run(tuple(shown[start:start + LENGTH]))[0][mask + known - start][tokens[known]].item()
    return total


def ranked(ids, mask, options):
    found = [(log_probability(ids, mask, tokens), tokens, word) for tokens, word in choices(options)]
    return sorted(found, key=lambda one: -one[0])


def described(text, span, case, one):
    """A filling: what it replaces, and how it is written."""
    score, tokens, word = one
    start, end = span
    if word.startswith("##"):
        word = word[2:]
        while text[start - 1] == " ":
            start -= 1
    start, end = byte_offsets(text, (start, end))
    return {"log_probability": round(score, 7), "tokens": tokens, "word": CASES[case](word) if word.islower() else word,
            "start": start, "end": end}


def fill(text, cases, options):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    masks = [i for i, token in enumerate(ids) if token == MASK]
    spans = [encoded["offset_mapping"][mask] for mask in masks]
    top_k = options.get("top_k", 5)
    if options.get("mode") != "joint":
        found = [[described(text, span, case, one) for one in ranked(ids, mask, options)[:top_k]]
                 for mask, span, case in zip(masks, spans, cases)]
        return {"text": text, **options, "masks": found}
    beams = [(0.0, ids, [])]
    for index in range(len(masks)):
        longer = []
        for score, filled, fillings in beams:
            mask = filled.index(MASK)
            for one in ranked(filled, mask, options):
                longer.append((score + one[0], filled[:mask] + one[1] + filled[mask + 1:], fillings + [one]))
        beams = sorted(longer, key=lambda beam: -beam[0])[:max(options.get("beams", 20), top_k)]
    found = [{"log_probability": round(score, 7),
              "fillings": [described(text, *each) for each in zip(spans, cases, fillings)]}
             for score, _, fillings in beams[:top_k]]
    return {"text": text, **options, "texts": found}


def program(command, text, options):
    flags = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-").replace("targets", "target").replace("labels", "label")
        flags += [flag] if value is True else [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    done = subprocess.run(["build/fillmask", *command, "-m", FOLDER / "model", "--json", *flags, text], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def sample(text, options):
    found = program(["fill", "--sample"], text, options)
    return {"text": text, "mode": "sample", **options, "sequences": [one["sequence"] for one in found]}


# ---- embed ----

def embed(text):
    """The mean of the last states; of a long text, each token's from the window whose middle is nearest."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    starts = [0]
    while starts[-1] + LENGTH < len(ids):
        starts.append(min(starts[-1] + LENGTH // 2, len(ids) - LENGTH))
    cuts = [0] + [(left + LENGTH + right) // 2 for left, right in zip(starts, starts[1:])] + [len(ids)]
    rows = []
    for start, begin, end in zip(starts, cuts, cuts[1:]):
        states = run(tuple(ids[start:start + LENGTH]))[1]
        rows += [states[0]] if start == 0 else []
        rows += list(states[begin - start + 1:end - start + 1])
        rows += [states[-1]] if end == len(ids) else []
    return {"text": text, "vector": [round(value, 6) for value in torch.stack(rows).mean(0).tolist()]}


# ---- augment ----

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
    ("The plot was funny and the cast was good. Nobody loved the music!", {"variants": 3, "min_similarity": 0.97}),
    ("The plot was funny and the cast was good. Nobody loved the music!", {"variants": 3, "max_drop": 0.2}),
    ("The plot was funny and the cast was good. Nobody loved the music!",
     {"variants": 3, "rate": 0.5, "label_safe": True, "labels": ["good", "Nobody", "loved", "hated"], "label_share": 0.1}),
    ("The plot was funny and the cast was not good. Nobody liked the music!",
     {"variants": 3, "rate": 0.5, "label_safe": True}),
    ("The plot was funny, and the CAST was good.\nNobody loved the music in \u00d3slo!",
     {"variants": 2, "rate": 1, "keep": ["cast", "Nobody"], "protect": ["^[A-Z][a-z]+ plot", "the m[a-z]+", "o+"]}),
]


def augment(text, options):
    return {"text": text, **options, "result": program(["augment"], text, options)["variants"]}


def write(name, cases):
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    (FOLDER / f"{name}.json").write_text(f"[\n  {lines}\n]\n")


write("score", [score(text, method) for text in TEXTS for method in ("word", "token")])
write("fill", [fill(*case) for case in FILLED])
write("embed", [embed(text) for text in TEXTS])
if "--record" in sys.argv:
    write("sample", [sample(text, options) for text, options in SAMPLED])
    write("augment", [augment(text, options) for text, options in AUGMENTED])
