"""The core's tokenizer in Python, for the tests that compare it with another one: builds a shared library with the C
compiler and calls it through ctypes. Not an interface to build on."""
import ctypes
import json
import shlex
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_uint32), ("end", ctypes.c_uint32)]


class Encoding(ctypes.Structure):
    _fields_ = [("count", ctypes.c_size_t), ("capacity", ctypes.c_size_t), ("ids", ctypes.POINTER(ctypes.c_uint32)),
                ("offsets", ctypes.POINTER(Span)), ("words", ctypes.POINTER(ctypes.c_uint32))]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 1000)]


def build(folder=None):
    """Compiles core/base and core/tokenizer; returns the loaded library."""
    target = Path(folder or tempfile.mkdtemp(prefix="fillmask-")) / "libtokenizer.so"
    sources = sorted((ROOT / "core/base").glob("*.c")) + sorted((ROOT / "core/tokenizer").glob("*.c"))
    flags = shlex.split(subprocess.run(["pkg-config", "--cflags", "--libs", "libcjson"], check=True,
                                       capture_output=True, text=True).stdout)
    subprocess.run(["cc", "-std=c11", "-O3", "-fPIC", "-shared", "-D_POSIX_C_SOURCE=200809L", "-I", ROOT / "core",
                    "-o", target, *sources, *flags, "-pthread", "-lm"], check=True)
    return ctypes.CDLL(str(target))


class Tokenizer:
    def __init__(self, library, path=None, vocab=None, lowercase=True):
        self.library, self.handle, self.encoding = library, ctypes.c_void_p(), Encoding()
        if path is not None:
            self.check("open", ctypes.byref(self.handle), str(path).encode())
        else:
            text = vocab.encode()
            self.check("from_vocab", ctypes.byref(self.handle), text, ctypes.c_size_t(len(text)), lowercase)

    def check(self, name, *arguments):
        error = Error()
        if getattr(self.library, "fm_tokenizer_" + name)(*arguments, ctypes.byref(error)):
            raise ValueError(error.text.decode())

    def run(self, data, special=False):
        """Encodes bytes into the one reused encoding."""
        self.check("encode", self.handle, data, ctypes.c_size_t(len(data)), special, ctypes.byref(self.encoding))
        return self.encoding.count

    def encode(self, data, special=False):
        """ids, (start, end) in bytes, words."""
        count, e = self.run(data, special), self.encoding
        spans = ctypes.cast(e.offsets, ctypes.POINTER(ctypes.c_uint32))[:2 * count]
        return e.ids[:count], list(zip(spans[::2], spans[1::2])), e.words[:count]

    def decode(self, ids, skip_special=True, clean_up=True):
        text = ctypes.c_char_p()
        self.check("decode", self.handle, (ctypes.c_uint32 * len(ids))(*ids), ctypes.c_size_t(len(ids)), skip_special,
                   clean_up, ctypes.byref(text))
        value = text.value.decode()
        self.library.free(text)
        return value

    def save(self, folder, max_length=512):
        self.check("save", self.handle, str(folder).encode(), ctypes.c_uint32(max_length))


def reference(path, lowercase=True):
    """Hugging Face's tokenizer of a tokenizer.json, which may be an old one without model.type."""
    from tokenizers import Tokenizer as HuggingFace
    state = json.loads(Path(path).read_text())
    state["model"].setdefault("type", "WordPiece")
    state["normalizer"]["lowercase"] = lowercase
    return HuggingFace.from_str(json.dumps(state))
