"""Hugging Face folders: shards, and what damaged and hostile ones end in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch_webgpu.decoders.export import Recipe, build
from executorch_webgpu.decoders.folder import ModelFolder
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.errors import WebGPUError
from safetensors.torch import load_file, save_file
from support.decoders import tiny

CONTEXT = 32
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("qwen2").save_pretrained(tmp_path)
    return tmp_path


def built(folder: Path) -> Any:
    source = open_source(str(folder), CONTEXT)
    return build(source, Recipe(CONTEXT, bits=32), lambda *_: None)[0]


def change_config(folder: Path, **changes: Any) -> None:
    """Other fields; None takes one away."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def split(folder: Path) -> None:
    """The weights in two files, with an index."""
    tensors = load_file(folder / WEIGHTS)
    parts = {"a.safetensors": {}, "b.safetensors": {}}
    for i, (name, tensor) in enumerate(tensors.items()):
        parts["ab"[i % 2] + ".safetensors"][name] = tensor
    for name, part in parts.items():
        save_file(part, folder / name)
    (folder / WEIGHTS).unlink()
    index = {tensor: name for name, part in parts.items() for tensor in part}
    (folder / INDEX).write_text(json.dumps({"weight_map": index}))


def rename_in_index(folder: Path, name: str | None) -> None:
    """Another file for a tensor; the one that does not have it for None."""
    split(folder)
    index = json.loads((folder / INDEX).read_text())
    old = index["weight_map"]["model.norm.weight"]
    other = {"a.safetensors": "b.safetensors", "b.safetensors": "a.safetensors"}[old]
    index["weight_map"]["model.norm.weight"] = name or other
    (folder / INDEX).write_text(json.dumps(index))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def set_header(folder: Path, length: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + data[8:])


def cut(folder: Path, share: float) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(len(data) * share)])


@torch.no_grad()
def test_shards_are_one_model(folder: Path) -> None:
    tokens, position = torch.tensor([[5, 6, 7]]), torch.tensor([0])
    whole = built(folder)(tokens, position)
    split(folder)
    assert torch.equal(built(folder)(tokens, position), whole)


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "head"),
    [
        ("language_model.model.", "language_model.lm_head."),
        ("model.language_model.", "lm_head."),
    ],
)
def test_decoder_inside_a_larger_model(folder: Path, model: str, head: str) -> None:
    tokens, position = torch.tensor([[5, 6, 7]]), torch.tensor([0])
    whole = built(folder)(tokens, position)

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            new = name.replace("model.", model, 1) if name.startswith("model.") else name
            tensors[new.replace("lm_head.", head)] = tensors.pop(name)

    change_tensors(folder, rename)
    config = json.loads((folder / "config.json").read_text())
    outer = {"model_type": "sees pictures", "text_config": config}
    (folder / "config.json").write_text(json.dumps(outer))
    assert torch.equal(built(folder)(tokens, position), whole)


def test_half_precision_is_read(folder: Path) -> None:
    before = built(folder).layers[0].feed_forward.up.weight
    change_tensors(folder, lambda t: t.update({n: x.bfloat16() for n, x in t.items()}))
    after = built(folder).layers[0].feed_forward.up.weight
    assert torch.equal(after, before.bfloat16().float())


def test_tokens_that_end_an_answer_come_from_both_configurations(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2]}))
    assert ModelFolder(folder).eos() == [7, 2]


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "deep json": (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "is not an object"),
    "no kind": (lambda f: change_config(f, model_type=None), "model_type is missing"),
    "another kind": (lambda f: change_config(f, model_type="mamba"), "the architecture 'mamba'"),
    "experts": (lambda f: change_config(f, model_type="qwen2_moe"), "mixture of experts"),
    "quantized": (
        lambda f: change_config(f, quantization_config={"quant_method": "gptq"}),
        "quantized already",
    ),
    "no width": (lambda f: change_config(f, hidden_size=None), "hidden_size is missing"),
    "text": (lambda f: change_config(f, hidden_size="64"), "hidden_size is '64', not an integer"),
    "true": (lambda f: change_config(f, hidden_size=True), "hidden_size is True"),
    "fraction": (lambda f: change_config(f, hidden_size=64.5), "hidden_size is 64.5"),
    "absurd": (lambda f: change_config(f, intermediate_size=10**30), "intermediate_size is 1000"),
    "absurd sizes": (
        lambda f: change_config(f, hidden_size=1 << 24, vocab_size=1 << 24),
        "but the configuration wants [16777216, 16777216]",
    ),
    "negative": (lambda f: change_config(f, num_hidden_layers=-1), "num_hidden_layers is -1"),
    "odd head": (lambda f: change_config(f, head_dim=15), "cannot be rotated in pairs"),
    "no epsilon": (lambda f: change_config(f, rms_norm_eps=0), "rms_norm_eps is 0"),
    "endless theta": (
        lambda f: change_config(f, rope_parameters={"rope_theta": float("inf")}),
        "rope_theta is inf",
    ),
    "another activation": (
        lambda f: change_config(f, hidden_act="tan"),
        "the activation 'tan' is none of",
    ),
    "another rope": (
        lambda f: change_config(f, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4}),
        "rope_type 'dynamic' is none",
    ),
    "few factors": (
        lambda f: change_config(
            f,
            rope_parameters={
                "rope_type": "longrope",
                "short_factor": [1.0],
                "original_max_position_embeddings": 256,
            },
        ),
        "short_factor is [1.0], not a list of 8 numbers",
    ),
    "other layers": (lambda f: change_config(f, layer_types=["mamba"] * 3), "'mamba'"),
    "few layers": (lambda f: change_config(f, layer_types=["full_attention"]), "for 3 layers"),
    "another width": (lambda f: change_config(f, hidden_size=128), "the configuration wants"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no weights"),
    "half the weights": (lambda f: cut(f, 0.5), "is damaged"),
    "a few bytes": (lambda f: cut(f, 0.00001), "is damaged"),
    "absurd header": (lambda f: set_header(f, 1 << 60), "is damaged"),
    "missing tensor": (
        lambda f: change_tensors(f, lambda t: t.pop("model.norm.weight")),
        "has no tensor model.norm.weight",
    ),
    "wrong sizes": (
        lambda f: change_tensors(f, lambda t: t.update({"model.norm.weight": torch.ones(63)})),
        "has the sizes [63], but the configuration wants [64]",
    ),
    "integers": (
        lambda f: change_tensors(
            f, lambda t: t.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)})
        ),
        "is of torch.int8, not of floats",
    ),
    "infinite": (
        lambda f: change_tensors(f, lambda t: t["model.norm.weight"].fill_(float("inf"))),
        "norm.weight has numbers that are infinite or NaN",
    ),
    "not numbers": (
        lambda f: change_tensors(
            f, lambda t: t["model.layers.1.mlp.up_proj.weight"][3].fill_(float("nan"))
        ),
        "has numbers that are infinite or NaN",
    ),
    "missing shard": (lambda f: rename_in_index(f, "c.safetensors"), "c.safetensors is missing"),
    "another shard": (lambda f: rename_in_index(f, None), "which has it not"),
    "shard elsewhere": (
        lambda f: rename_in_index(f, "../../a.safetensors"),
        "'../../a.safetensors', which is not a file of this folder",
    ),
    "absolute shard": (lambda f: rename_in_index(f, "/etc/passwd"), "not a file of this folder"),
    "empty index": (
        lambda f: (f / INDEX).write_text('{"weight_map": {}}'),
        "has no weight_map",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "cannot read",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_folders_end_in_a_sentence(what: str, folder: Path) -> None:
    damage, part = HOSTILE[what]
    damage(folder)
    with pytest.raises(WebGPUError) as error:
        built(folder)
    sentence = str(error.value)
    assert part in sentence and str(folder) in sentence
    assert "\n" not in sentence and len(sentence) < 500


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WebGPUError, match="no such file or folder, and not 'smollm2'"):
        open_source(str(tmp_path / "none"), CONTEXT)
