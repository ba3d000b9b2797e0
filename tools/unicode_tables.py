#!/usr/bin/env python3
"""Writes core/tokenizer/unicode_tables.inc: what the tokenizer knows of Unicode.

    python3 tools/unicode_tables.py            writes the file
    python3 tools/unicode_tables.py --check    fails if the file differs

The base is Python's unicodedata, which must be Unicode 14.0.0 (Python 3.11). Hugging Face's Rust tokenizer, whose ids
we must give, mixes versions: its classes Mn, Cf and P* are Unicode 8.0's, its decompositions and combining classes
Unicode 9.0's, its lower-casing is that of Unicode 17. The lists below are the differences from 14.0.0, found by asking
it for every scalar value (tests/differential/tokenizer.py does so again).
"""
import sys
import unicodedata
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "core" / "tokenizer" / "unicode_tables.inc"

SPACE, DROP, CJK, PUNCTUATION, MARK, UPPER, DECOMPOSES, REORDERS = (1 << bit for bit in range(8))


def expand(text):
    """The code points of "A B-C ..." in hexadecimal."""
    points = set()
    for part in text.split():
        first, _, last = part.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


# Rust's char::is_whitespace.
WHITE = expand("9-D 20 85 A0 1680 2000-200A 2028 2029 202F 205F 3000")
# The reference's CJK ideographs: Google's Python code has 2B820 where this has 2B920, and gets other text wrong.
IDEOGRAPHS = expand("3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B81F 2B920-2CEAF 2F800-2FA1F")
# Cf, but not in Unicode 8.0.
NOT_FORMAT = expand("890-891 8E2 110CD 13430-13438")
# Mn, but not in Unicode 8.0; and Mn in 8.0 only.
NOT_MARK = expand("""7FD 898-89F 8CA-8E1 9FE AFA-AFF B55 C04 C3C D00 D3B-D3C D81 EBA 180F 1885-1886 1ABF-1ACE 1DF6-1DFB
    A82C A8C5 A8FF A9BD 10D24-10D27 10EAB-10EAC 10F46-10F50 10F82-10F85 11070 11073-11074 110C2 111C9 111CF 1123E 1133B
    11438-1143F 11442-11444 11446 1145E 1182F-11837 11839-1183A 1193B-1193C 1193E 11943 119D4-119D7 119DA-119DB 119E0
    11A01-11A0A 11A33-11A38 11A3B-11A3E 11A47 11A51-11A56 11A59-11A5B 11A8A-11A96 11A98-11A99 11C30-11C36 11C38-11C3D
    11C3F 11C92-11CA7 11CAA-11CB0 11CB2-11CB3 11CB5-11CB6 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47 11D90-11D91
    11D95 11D97 11EF3-11EF4 16F4F 16FE4 1CF00-1CF2D 1CF30-1CF46 1E000-1E006 1E008-1E018 1E01B-1E021 1E023-1E024
    1E026-1E02A 1E130-1E136 1E2AE 1E2EC-1E2EF 1E944-1E94A""")
ALSO_MARK = expand("1734")
# P*, but not in Unicode 8.0; and P* in 8.0 only.
NOT_PUNCTUATION = expand("""61D 9FD A76 C77 C84 1B7D-1B7E 2E43-2E4F 2E52-2E5D 10EAD 10F55-10F59 10F86-10F89 1144B-1144F
    1145A-1145B 1145D 11660-1166C 116B9 1183B 11944-11946 119E2 11A3F-11A46 11A9A-11A9C 11A9E-11AA2 11C41-11C45
    11C70-11C71 11EF7-11EF8 11FFF 12FF1-12FF2 16E97-16E9A 16FE2 1E95E-1E95F""")
ALSO_PUNCTUATION = expand("166D 111C9")
# No combining class in Unicode 9.0.
NOT_COMBINING = expand("""7FD 898-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1ACE 1DF6-1DFA A82C 10D24-10D27 10EAB-10EAC
    10F46-10F50 10F82-10F85 11070 1133B 1145E 11839-1183A 1193D-1193E 11943 119E0 11A34 11A47 11A99 11D42 11D44-11D45
    11D97 16FF0-16FF1 1E130-1E136 1E2AE 1E2EC-1E2EF""")
NOT_DECOMPOSED = expand("11938")
# Lower-casing younger than Unicode 14.0: the code points and what is added to them.
YOUNG_LOWER = [("1C89", 1), ("A7CB", 0x264 - 0xA7CB), ("A7CC", 1), ("A7CE", 1), ("A7D2", 1), ("A7D4", 1), ("A7DA", 1),
               ("A7DC", 0x19B - 0xA7DC), ("10D50-10D65", 0x20), ("16EA0-16EB8", 0x1B)]

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def is_hangul(point):
    return 0xAC00 <= point <= 0xD7A3


def lower_map():
    """code point -> lower case, one to one. U+0130 alone has two characters; the code knows it."""
    table = {}
    for point in SCALARS:
        lower = chr(point).lower()
        if lower != chr(point) and point != 0x130:
            assert len(lower) == 1, hex(point)
            table[point] = ord(lower)
    for text, delta in YOUNG_LOWER:
        table.update((point, point + delta) for point in expand(text))
    return table


def classes(lower, decomposed, combining):
    """One byte of flags for every code point."""
    flags = bytearray(0x110000)
    for point in range(0x110000):
        category = unicodedata.category(chr(point))
        flag = 0
        if point in WHITE:
            flag |= SPACE
        if point in (0, 0xFFFD) or category in ("Cc", "Cf", "Co") and point not in NOT_FORMAT | {9, 10, 13}:
            flag |= DROP
        if point in IDEOGRAPHS:
            flag |= CJK
        ascii_punctuation = 0x21 <= point <= 0x7E and not chr(point).isalnum()
        if (category[0] == "P" and point not in NOT_PUNCTUATION) or ascii_punctuation or point in ALSO_PUNCTUATION:
            flag |= PUNCTUATION
        if (category == "Mn" and point not in NOT_MARK) or point in ALSO_MARK:
            flag |= MARK
        if point in lower or point == 0x130:
            flag |= UPPER
        if point in decomposed or is_hangul(point):
            flag |= DECOMPOSES
        if point in combining:
            flag |= REORDERS
        flags[point] = flag
    return flags


def lower_runs(lower):
    """[first, last, step, delta] with steps of 1 or 2, in order and without overlap of their spans."""
    runs = []
    for point in sorted(lower):
        delta = lower[point] - point
        if runs:
            run = runs[-1]
            step = point - run[1]
            if delta == run[3] and (step == run[2] or (run[0] == run[1] and step <= 2)):
                run[1], run[2] = point, step
                continue
        runs.append([point, point, 1, delta])
    return runs


def combining_runs(combining):
    runs = []
    for point in sorted(combining):
        if runs and runs[-1][1] == point - 1 and runs[-1][2] == combining[point]:
            runs[-1][1] = point
        else:
            runs.append([point, point, combining[point]])
    return runs


def rows(values, width=118):
    """Numbers as lines of C initialisers."""
    lines, line = [], "   "
    for value in values:
        text = f" {value},"
        if len(line) + len(text) > width:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join(lines + [line])


def varint(value):
    """Seven bits a byte, the lowest first; all but the last byte have the eighth."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return out + bytes([value])


def signed(value):
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


def packed(lower, marks, decomposed):
    """Lower case, combining classes and decompositions as differences, alike beside alike, for gzip."""
    out, before = bytearray(), 0
    for first, last, step, delta in lower:
        out += varint(first - before) + varint(last - first) + varint(step) + signed(delta)
        before = last
    before = 0
    for first, last, value in marks:
        out += varint(first - before) + varint(last - first) + varint(value)
        before = last
    points = sorted(decomposed)
    for point, previous in zip(points, [0] + points):
        out += varint(point - previous)
    for point in points:
        out += varint(len(decomposed[point]))
    before = 0
    for point in points:
        out += signed(decomposed[point][0] - before)
        before = decomposed[point][0]
    for point in points:
        for value in decomposed[point][1:]:
            out += varint(value)
    return out


def tables():
    lower = lower_map()
    decomposed = {c: [ord(x) for x in unicodedata.normalize("NFD", chr(c))] for c in SCALARS
                  if not is_hangul(c) and c not in NOT_DECOMPOSED and unicodedata.normalize("NFD", chr(c)) != chr(c)}
    combining = {c: unicodedata.combining(chr(c)) for c in SCALARS
                 if unicodedata.combining(chr(c)) and c not in NOT_COMBINING}
    flags = classes(lower, decomposed, combining)
    blocks, index = {}, []
    for start in range(0, 0x110000, 128):
        index.append(blocks.setdefault(bytes(flags[start:start + 128]), len(blocks)))
    assert len(blocks) <= 256
    text, points, blocks_at = [], [], []
    for i, point in enumerate(sorted(decomposed)):
        if i % 32 == 0:
            blocks_at.append(len(text))
        points.append(point | len(decomposed[point]) << 24)
        text += decomposed[point]
    assert len(text) < 65536
    runs, marks = lower_runs(lower), combining_runs(combining)
    stream = packed(runs, marks, decomposed)
    return f"""/* unicode_tables.inc - made by tools/unicode_tables.py, which names the versions of Unicode; not to be edited. */
/* clang-format off */

/* Flags (unicode.h) of code point c: class_blocks[class_index[c >> 7]][c & 127]. */
static const uint8_t class_index[{len(index)}] = {{
{rows(index)}
}};
static const uint8_t class_blocks[{len(blocks)}][128] = {{
{chr(10).join("{" + chr(10) + rows(block) + chr(10) + "}," for block in blocks)}
}};

#ifdef FM_PACKED_UNICODE

/* What unicode.c makes the tables below of. */
#define LOWER_RUNS {len(runs)}
#define COMBINING_RUNS {len(marks)}
#define DECOMPOSITIONS {len(points)}
#define DECOMPOSITION_TEXT {len(text)}
static const uint8_t packed[{len(stream)}] = {{
{rows(stream)}
}};

#else

/* Lower case: first, last, step, what is added. */
static const struct lower_run lower_runs[{len(runs)}] = {{
{rows("{%d, %d, %d, %d}" % tuple(run) for run in runs)}
}};

/* Canonical decomposition, complete: each point with the length of its text in the highest byte, the texts one after
 * the other, and where every 32nd of them starts. */
static const uint32_t decomposition_points[{len(points)}] = {{
{rows(points)}
}};
static const uint16_t decomposition_at[{len(blocks_at)}] = {{
{rows(blocks_at)}
}};
static const uint32_t decomposition_text[{len(text)}] = {{
{rows(text)}
}};

/* Canonical combining class: first, last, class. */
static const struct combining_run combining_runs[{len(marks)}] = {{
{rows("{%d, %d, %d}" % tuple(run) for run in marks)}
}};

#endif
"""


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}; the exceptions are against 14.0.0, which"
                 " Python 3.11 has")
    text = tables()
    if sys.argv[1:] == ["--check"]:
        if not TARGET.exists() or TARGET.read_text() != text:
            sys.exit(f"{TARGET} is not what tools/unicode_tables.py makes; run it")
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
