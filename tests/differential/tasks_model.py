"""Makes tests/vectors/model, the tiny model that the tests of core/tasks share: sentences from templates, a vocabulary
and a training by build/fillmask, and the weights stored as F16. It takes about a minute, and is only to be run again
when the tests need another model: the expected numbers in tests/vectors come from it.

Run from the root of the repository: python tests/differential/tasks_model.py
"""
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import load_file, save_file

PROGRAM = "build/fillmask"
MODEL = Path("tests/vectors/model")

GOOD = ["good", "great", "wonderful", "funny", "moving", "brilliant", "charming", "honest", "clever", "warm"]
BAD = ["bad", "boring", "terrible", "silly", "dull", "empty", "lazy", "loud", "weak", "cold"]
THINGS = ["movie", "film", "story", "plot", "ending", "cast", "music", "acting", "script", "picture", "scene", "show"]
PEOPLE = ["Anna", "Peter", "the director", "the actor", "my brother", "her sister", "everyone", "nobody"]
VERBS = ["liked", "loved", "hated", "watched", "remembered", "forgot", "saw", "enjoyed"]
DEGREES = ["really", "very", "quite", "rather", "so", "too"]
PLACES = {"Paris": "France", "Rome": "Italy", "Madrid": "Spain", "Berlin": "Germany", "Oslo": "Norway",
          "London": "England"}
TIMES = ["yesterday", "last night", "again", "twice", "on Sunday", "in the evening"]


def sentence(pick):
    mood = pick(["good", "bad"])
    word, praise, blame = (GOOD if mood == "good" else BAD), pick(GOOD), pick(BAD)
    thing, other, city = pick(THINGS), pick(THINGS), pick(list(PLACES))
    return pick([
        f"This {thing} was {pick(DEGREES)} {pick(word)}.",
        f"The {thing} was {pick(word)} and the {other} was {pick(word)}.",
        f"The {thing} was {praise}, but the {other} was {blame}.",
        f"I {pick(VERBS)} the {pick(word)} {thing} {pick(TIMES)}.",
        f"{pick(PEOPLE)} {pick(VERBS)} this {pick(word)} {thing}!",
        f"{city} is the capital of {PLACES[city]}.",
        f"The capital of {PLACES[city]} is {city}.",
        f"It is a {pick(DEGREES)} {pick(word)} {thing} about {city}.",
        f"We saw it in {city} {pick(TIMES)}, and it was {pick(word)}.",
        f"Is the {thing} {pick(word)}? It is {pick(DEGREES)} {pick(word)}.",
        f"Don't watch it: the {thing} isn't {praise}, it's {blame}.",
        f"What a {pick(word)} {thing}, what a {pick(word)} {other}!",
    ])


def main():
    pick = random.Random(5).choice
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, vocabulary, trained = folder / "texts.jsonl", folder / "vocabulary", folder / "trained"
        rows = (" ".join(sentence(pick) for _ in range(3)) for _ in range(12000))
        data.write_text("".join(json.dumps({"text": row[0].upper() + row[1:]}) + "\n" for row in rows))
        subprocess.run([PROGRAM, "train-vocab", "--data", data, "--size", "260", "-o", vocabulary, "-q"], check=True)
        subprocess.run([PROGRAM, "train", "--data", data, "--tokenizer", vocabulary, "-o", trained, "--layers", "2",
                        "--hidden", "32", "--heads", "2", "--feed-forward", "64", "--positions", "32", "--length", "32",
                        "--batch", "64", "--steps", "3000", "--learning-rate", "4e-3", "--warmup", "0.1", "--init",
                        "neighbours", "--weight-decay", "0.0", "--dropout", "0", "--seed", "5", "-q"], check=True)
        MODEL.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.astype("float16") for key, value in load_file(trained / "model.safetensors").items()}
        save_file(tensors, MODEL / "model.safetensors", metadata={"format": "pt"})
        for file in ["config.json", "vocab.txt", "tokenizer_config.json"]:
            (MODEL / file).write_bytes((trained / file).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
