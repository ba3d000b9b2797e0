#!/usr/bin/env python3
"""Model folders against transformers: what it writes, Fillmask loads; what Fillmask writes, it loads; every value is
compared. Needs torch, transformers, safetensors, a C compiler and cJSON. Nothing is computed with the models here.

Usage: weights.py   (from any folder; CC chooses the compiler)
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import DistilBertConfig, DistilBertForMaskedLM
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Loads a folder and writes it again as another type.
DRIVER = r"""
#include "model/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fm_status convert(const char *from, const char *to, fm_stored_type type, fm_error *err)
{
    char *config_path = fm_path_join(from, "config.json"), *weights_path = fm_path_join(from, "model.safetensors");
    char *new_config = fm_path_join(to, "config.json"), *new_weights = fm_path_join(to, "model.safetensors");
    fm_config config;
    fm_parameters parameters = {0};
    fm_weights weights = {0};
    fm_safetensors *file = NULL;
    fm_status status = fm_config_read(&config, config_path, err);
    if (!status) status = fm_parameters_make(&parameters, &config, err);
    if (!status) status = fm_safetensors_open(&file, weights_path, err);
    if (!status) status = fm_weights_load(&weights, &parameters, file, weights_path, err);
    if (!status) status = fm_make_folder(to, err);
    if (!status) status = fm_config_write(&config, new_config, err);
    if (!status) status = fm_weights_save(new_weights, &parameters, weights.values, type, err);
    fm_weights_free(&weights);
    fm_parameters_free(&parameters);
    free(config_path), free(weights_path), free(new_config), free(new_weights);
    return status;
}

int main(int argc, char **argv)
{
    fm_error err;
    if (argc != 4 || !convert(argv[1], argv[2], (fm_stored_type)atoi(argv[3]), &err)) return argc != 4;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}
"""

TYPES = {"F32": 0, "F16": 1, "BF16": 2, "I8": 3}
TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
FIELDS = ("vocab_size dim n_layers n_heads hidden_dim max_position_embeddings dropout attention_dropout "
          "initializer_range activation model_type pad_token_id tie_word_embeddings").split()


def build(folder):
    source, program = folder / "driver.c", folder / "driver"
    source.write_text(DRIVER)
    names = ["config", "safetensors", "parameters", "weights", "convert"]
    files = [ROOT / f"core/model/{name}.c" for name in names] + sorted((ROOT / "core/base").glob("*.c"))
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libcjson"], text=True).split()
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-ffp-contract=off", "-D_POSIX_C_SOURCE=200809L",
                    f"-I{ROOT / 'core'}", source, *files, *flags, "-lpthread", "-lm", "-o", program], check=True)
    return program


def run(program, source, target, kind):
    return subprocess.run([program, source, target, str(TYPES[kind])], capture_output=True, text=True)


def convert(program, source, target, kind):
    result = run(program, source, target, kind)
    assert result.returncode == 0, result.stderr


def load(folder):
    model, info = DistilBertForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    tied = model.vocab_projector.weight.data_ptr() == model.distilbert.embeddings.word_embeddings.weight.data_ptr()
    assert tied, "the output matrix must be the word embeddings"
    return model


def same(model, expected, kind):
    """Every tensor of the model is that of `expected`, rounded to `kind` by torch. Returns their number."""
    found = model.state_dict()
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, value in expected.items():
        rounded = value.float().to(TORCH[kind]).float()
        assert torch.equal(found[name].view(torch.int32), rounded.view(torch.int32)), (kind, name)
    return len(found)


def random_model(seed, **shape):
    torch.manual_seed(seed)
    model = DistilBertForMaskedLM(DistilBertConfig(**shape))
    for parameter in model.parameters():
        # Exponents from 2^-27 to 2^3: subnormal halves, and values that round to zero.
        parameter.data = torch.randn_like(parameter) * torch.exp2(torch.randint(-27, 4, parameter.shape).float())
    return model


def check_quantised(program, folder, model):
    """int8: integers in -63..63, each row within half a step or clipped, and back to f32 for transformers."""
    convert(program, folder / "hf", folder / "I8", "I8")
    stored = load_file(folder / "I8/model.safetensors")
    with safe_open(folder / "I8/model.safetensors", "pt") as file:
        assert file.metadata() == {"fillmask.quantization": "int8-row-symmetric"}, file.metadata()
    convert(program, folder / "I8", folder / "back", "F32")
    back = load(folder / "back").state_dict()
    for name, value in model.state_dict().items():
        if name == "vocab_projector.weight":
            continue
        if value.dim() == 1:
            assert torch.equal(back[name], value), name
            continue
        integers, scale = stored[name], stored[name + ".scale"]
        assert integers.dtype == torch.int8 and integers.abs().max() <= 63, name
        assert torch.equal(back[name], integers.float() * scale[:, None]), name
        simple = value.abs().amax(1, keepdim=True) / 63
        worst = (torch.round(value / simple) * simple - value).square().sum(1)
        error = (back[name] - value).square().sum(1)
        assert (error <= worst * 1.0001 + 1e-12).all(), (name, (error / worst).max())
    # What was quantised once keeps its integers.
    convert(program, folder / "I8", folder / "again", "I8")
    again = load_file(folder / "again/model.safetensors")
    for name, value in stored.items():
        if value.dtype == torch.int8:
            assert torch.equal(again[name], value), name


def check_projector(program, folder):
    """A second copy of the word embeddings is accepted, a different matrix is refused."""
    values = load_file(folder / "hf/model.safetensors")
    target = folder / "projector"
    target.mkdir()
    (target / "config.json").write_bytes((folder / "hf/config.json").read_bytes())
    values["vocab_projector.weight"] = values["distilbert.embeddings.word_embeddings.weight"].clone()
    save_file(values, target / "model.safetensors", {"format": "pt"})
    convert(program, target, folder / "out", "F32")
    values["vocab_projector.weight"][5, 3] += 1
    save_file(values, target / "model.safetensors", {"format": "pt"})
    result = run(program, target, folder / "out", "F32")
    assert result.returncode == 1 and "row 5 of the tensor vocab_projector.weight" in result.stderr, result.stderr


def check_shape(program, folder, seed, **shape):
    model = random_model(seed, **shape)
    expected = model.state_dict()
    folder.mkdir()
    model.save_pretrained(folder / "hf")
    count = 0
    for kind in TORCH:
        convert(program, folder / "hf", folder / kind, kind)
        count += same(load(folder / kind), expected, kind)
        wanted, found = (json.loads((folder / name / "config.json").read_text()) for name in ("hf", kind))
        for field in FIELDS:
            assert found.get(field) == wanted.get(field, found.get(field)), (field, found.get(field))
    for kind in ("F16", "BF16"):  # halves that torch wrote
        random_model(seed, **shape).to(TORCH[kind]).save_pretrained(folder / f"hf{kind}")
        convert(program, folder / f"hf{kind}", folder / f"from{kind}", "F32")
        count += same(load(folder / f"from{kind}"), expected, kind)
    check_quantised(program, folder, model)
    check_projector(program, folder)
    return count


def main():
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = build(folder)
        count = check_shape(program, folder / "small", 1, vocab_size=131, dim=24, n_layers=2, n_heads=3, hidden_dim=50,
                            max_position_embeddings=17, sinusoidal_pos_embds=True)
        count += check_shape(program, folder / "odd", 2, vocab_size=7, dim=5, n_layers=1, n_heads=5, hidden_dim=3,
                             max_position_embeddings=3, dropout=0.0, attention_dropout=0.25, initializer_range=1e-5)
        count += check_shape(program, folder / "wide", 3, vocab_size=1000, dim=768, n_layers=1, n_heads=12,
                             hidden_dim=3072)
    print(f"{count} tensors of transformers' and Fillmask's files agree bit for bit; int8 and the tied matrix hold.")


if __name__ == "__main__":
    sys.exit(main())
