#!/usr/bin/env python3
"""Writes tests/golden/tokenizer.json: what Hugging Face's tokenizers makes of texts in many scripts, for
tests/c/test_tokenizer.c. Vocabulary and texts are our own; nothing of Fillmask runs here.

    python3 tests/differential/tokenizer_golden.py [--check]

The file holds "vocab", a list of tokens in the order of ids, and "tokenizers": each has a "name", the tokenizer.json
without its model.vocab as "file", the "cases" and the "decodings". A case is a text, its ids, the offsets in bytes of
UTF-8 (start and end by turns) and the words, -1 for special tokens. A decoding is a list of ids, whether special tokens
are left out, whether spaces are cleaned up, and the text. "trainings" are vocabularies that WordPieceTrainer makes of the
first "texts" cases of the first tokenizer, for tests/c/test_vocab_trainer.c. Needs the PyPI package tokenizers, version
0.23."""
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TARGET = Path(__file__).resolve().parents[1] / "golden" / "tokenizer.json"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

WORDS = """the The a A of to film Film movie Movie movies ##s ##ing ##ed ##er ##ly un ##un ##want ##wanted ##aff ##able
    affable good great wonder ##ful we don t ' n't 's 'm 've 're do not it is was isn 2024 20 ##24 ##0 ##00 100 3
    ##5 naïve naive cafe café ##é resume Ångström angstrom straße ##ße œuvre istanbul i ##stanbul İstanbul
    supercalifragilisti supercalifragilis ##ticexpialidocious abcdefgh abcdefghi abcdefghijklmno abcdefghijklmnop
    abcdefghijklmnopq ##ijklmnop ##q привет мир и ##ия россия Россия ελλάδα ελλαδα ΑΘΗΝΑ αθηνα ##σ ##ς שלום עולם
    سلام العالم नमस्ते नमसत ##ते สวัสดี ##ดี 電 影 中 文 ##文 東京 カタカナ ひらがな ##な 한국어 ##어 գիրք წიგნი ሰላም ꮳꮃꭹ fi ##fi ffi … “
    ” — – ¿ ¡ « » 。 、 ， ！ × ₿ € ™ ½ ② 👍 👩 ##👩 🎬 [ ] MASK mask ##mask ##" # ## - -- . ... , ! ? ; : ( ) / \\ & @ % $
    + = < > * ^ _ ` { | } ~ \"""".split()

# Sentences of our own, then what goes wrong in tokenizers.
TEXTS = """The film was unwantedly good.
We don't know what's wrong, it isn't the MOVIE's fault; they've gone!
Oh, naïve [MASK] FilmBuffs' clubs.
In 2024 the 100 movies cost $3.50 each (or 2% of 20,000)...
Le café où l’œuvre fut créée était fermé à Noël, hélas ; « garçon », dit-elle.
Der Fluß fließt übers Maß, größer als je: Straße STRASSE ẞ.
¿Dónde está el niño? ¡Mañana, señor! Él comió piñas y jalapeños.
Trời mưa suốt đêm ở Huế, nước dâng lên tận thềm nhà.
İstanbul'da ılık bir ışık IŞIĞI gördüm, DİYARBAKIR çok güzel.
Zażółć gęślą jaźń, Łódź i Święta; příliš žluťoučký kůň úpěl ďábelské ódy.
Sæti ána Þórs við Ångström-fjörð, Øresund, ʻokina Hawaiʻi.
Καλημέρα Ελλάδα, η ΑΘΗΝΑ είναι όμορφη· ΣΟΦΟΣ σοφός ἀρχῇ ᾤδή.
Привет, мир! Ёлка и ёжик ждут съёмки; Россия ПРИВЕТ й.
Їжак їсть ґудзик, їхати ПІД'ЇЗД.
Գիրքը սեղանին է։ և ԵՒ
წიგნი მაგიდაზე დევს. ᲬᲘᲒᲜᲘ ႠႡႢ
שָׁלוֹם עוֹלָם, מַה שְּׁלוֹמְךָ? ״כן״
السَّلامُ عَلَيْكُم، كتابٌ جديدٌ ٣٤٥؟ أإآ لا ﷺ
سلام دنیا، می‌خواهم کتاب بخوانم.
नमस्ते दुनिया। क़िताब ज़रूरी है, हिन्दी में।
বাংলা ভাষায় লেখা, ড়াঢ়য় কো কৌ।
தமிழ் மொழி கொடு கௌ ௧௨௩.
สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง น้ำ
ສະບາຍດີ ຂ້ອຍ ນ້ຳ
မြန်မာစာ ဖတ်သည်။
ភាសាខ្មែរ អក្សរ។
བོད་སྐད། ཨོཾ་མ་ཎི་པདྨེ་ཧཱུྃ
ሰላም ለዓለም፣ መጽሐፍ።
ᏣᎳᎩ ꮳꮃꭹ Ꭰ
ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ
這部電影很好看，我看了3次！
这部电影很好看，2024年上映。
東京で映画を見ました。ガギグゲゴ ぱぴぷぺぽ ｶﾞ ﾊﾟ ヴ
한국어 영화는 재미있다. 각힣가
𠀀𪚥𫠝中𫢸𫤠𬺡 丽 豈 﨎
㐀㋿㍻ 〇 〆 ㆒ ⼀ ⺀
Emoji 👍🏽 👩‍👩‍👧 🎬🇫🇷 ☕️ ❤️‍🔥 1️⃣!
𝕋𝕙𝕖 𝓶𝓸𝓿𝓲𝓮 𝟙𝟚𝟛 ｆｕｌｌｗｉｄｔｈ ＦＩＬＭ ﬁlm oﬃce ﬀ
H₂O x² ½ ② Ⅷ ™ ℌ Å Å K Ω Ω ª º
𐐀𐐨 𐌰𐌱 𓀀𓁿 𞤀𞤢 𐒰 Ꞌꞌ Ɤ ꭓ ᲀ
Z̸̢̛͎a̷͙̽l̶̰͝g̵̻̈́ỏ̶͙ text
e\u0301\u0323 e\u0323\u0301 \u0344 \u0340\u0341 \u0958 \u212b \ufb1d \u2126\u0345 a\u0315\u0300\u05ae\u0300\u0062
\u0f71\u0f73\u0f75 \u0f81\u0f71 \U0001d15e\U0001d16d \U0001d1bb \u1dfa\u0301
\u0301alone \u0301\u0302 \u20dd
tabs\tand\u00a0nbsp\u2003em\u3000ideographic\u2028line\u2029para\u0085next\u200bzero\u1680ogham\u180evowel
a\u200db\u200cc\u00add\u2060e\ufefff\u061cg\u202eh\u2066i
control\u0001\u0007\u001b[0m\u007f\u0080\u009fdone \ufffd\ufffe\uffff
private \ue000\uf8ff \U000f0000\U0010fffd unassigned \u0378\U000e0fff\u2fe0 noncharacter \U0001ffff
\u00bf\u2e2e\u3008\u2039\u2045\u2e42\u2e52\u30fb\ua9de\U00010100\u061d\u1b7d\u1734\u166d
[CLS] the [SEP] movie [PAD] [UNK] film [MASK]
x[MASK]y [MASK][MASK] [mask] [MASK [ MASK ] [[MASK]] ##[MASK]## [MA\u0301SK]
[MASK]ing un[MASK]able the[MASK]
##s ##movies # ## ###ing --...--
abcdefgh abcdefghi ABCDEFGHIJKLMNO abcdefghijklmnop Abcdefghijklmnopq abcdefghijklmnopqrstuvwxyz0123456789
supercalifragilisticexpialidocious Supercalifragilis ticexpialidocious
one.two,three;four:five!six?seven(eight)nine/ten\\eleven"twelve'thirteen
{} [] <a href="x">b</a> C:\\temp\\a.txt user@example.org 50% #1 ~~ ^^ `q` | & * + = _under_score_
don\u2019t \u201cquoted\u201d \u2014dash\u2013 \u2026 it\u02bcs"""
LONG = ["x" * 100, "x" * 101, "un" * 50, "un" * 51, "é" * 100 + "!", "é" * 101 + "!", "e\u0301" * 101, "中" * 120,
        "🎬" * 101, "the " * 30, " ", "\t\n\r ", "\u0001\u0002", "\u0301", "\u00a0\u3000", "\u200d", "[MASK]", "."]


def make(vocab, **options):
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]",
                                           max_input_chars_per_word=options.pop("word_chars", 100)))
    added = options.pop("added", [])
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    for token, special in added:
        entry = AddedToken(token, normalized=False, special=special)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([entry])
    return tokenizer


def split(texts, lowercase):
    normalizer, splitter = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    return [word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


def make_vocab(texts):
    """The words above and every second character that normalised words of the texts have, alone and inside, so that
    there are unknown words too."""
    vocab = dict.fromkeys(SPECIAL + WORDS)
    for lowercase in (True, False):
        words = split(texts, lowercase)
        for prefix, letters in (("", {word[0] for word in words}), ("##", {c for word in words for c in word[1:]})):
            vocab.update((prefix + c, None) for c in sorted(letters) if c.isascii() or ord(c) % 4)
    return list(vocab)


def encode(tokenizer, text, special):
    encoding, starts = tokenizer.encode(text, add_special_tokens=False), [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode()))
    # A special token was written out in the text; the [UNK] of an unknown word is a word.
    words = [-1 if i in special and text[span[0]:span[1]] == token else word for i, token, span, word in
             zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.word_ids)]
    return {"text": text, "ids": encoding.ids, "offsets": [starts[at] for span in encoding.offsets for at in span],
            "words": words}


def decode(tokenizer, rng, size):
    ids = [rng.randrange(size) for _ in range(rng.randrange(12))]
    skip, clean = rng.random() < 0.5, rng.random() < 0.7
    tokenizer.decoder = decoders.WordPiece(cleanup=clean)
    return {"ids": ids, "skip_special": skip, "clean_up": clean,
            "text": tokenizer.decode(ids, skip_special_tokens=skip)}


def train(texts, lowercase, size, least):
    """The vocabulary of a training that is told all characters beforehand, in their order; otherwise the ids of those
    with ##, which decide between equally frequent pairs, would be random."""
    words = split(texts, lowercase)
    letters = sorted({c for word in words for c in word}) + sorted({"##" + c for word in words for c in word[1:]})
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=least, limit_alphabet=2000, special_tokens=SPECIAL + letters,
        show_progress=False))
    return {"lowercase": lowercase, "size": size, "least": least,
            "vocab": sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)}


def main():
    lines = TEXTS.split("\n")
    texts = lines + LONG
    vocab = make_vocab(texts)
    kinds = {"uncased": {"lowercase": True}, "cased": {"lowercase": False},
             "uncased with accents": {"lowercase": True, "strip_accents": False},
             "cased without accents": {"lowercase": False, "strip_accents": True},
             "as it comes": {"lowercase": False, "clean_text": False, "handle_chinese_chars": False},
             "short words": {"lowercase": True, "word_chars": 5},
             "added tokens": {"lowercase": True, "added": [("film", False), ("naï", False), ("<x>", True)]}}
    rng, written = random.Random(1), []
    for number, (name, options) in enumerate(kinds.items()):
        tokenizer = make(vocab, **options)
        special = set(range(len(SPECIAL))) | {tokenizer.token_to_id("<x>")}
        file = json.loads(tokenizer.to_str())
        del file["model"]["vocab"]
        some = texts if number < 2 else texts[number % 3::3]
        cases = [encode(tokenizer, text, special) for text in some + ["Thefilm<x>film naïve <x><x>filmy <X> FILM"]]
        size = tokenizer.get_vocab_size()
        written.append({"name": name, "file": file, "cases": cases,
                        "decodings": [decode(tokenizer, rng, size) for _ in range(40)]})
    parts = ",\n".join(
        '{"name": %s, "file": %s, "cases": [\n%s\n], "decodings": [\n%s\n]}' % (
            json.dumps(entry["name"]), json.dumps(entry["file"]),
            ",\n".join(json.dumps(case, separators=(",", ":")) for case in entry["cases"]),
            ",\n".join(json.dumps(case, separators=(",", ":")) for case in entry["decodings"])) for entry in written)
    trainings = [train(lines, *case) for case in ((True, 3000, 0), (True, 1500, 2), (False, 1600, 1))]
    text = '{"vocab": %s,\n"tokenizers": [\n%s\n],\n"texts": %d, "trainings": [\n%s\n]}\n' % (
        json.dumps(vocab), parts, len(lines), ",\n".join(map(json.dumps, trainings)))
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs from what this script makes")
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
