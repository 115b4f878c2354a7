"""Real exports, damaged: each ends in a sentence, and the runtime goes on working.

The readers' own tests damage far more files; here whole programs go the way a user's would."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import executorch_webgpu
import pytest
import torch
from executorch.runtime import Runtime
from executorch_webgpu import native
from support.capi import Model, ModelError
from support.delegate import Delegate, exported
from support.export import export_delegate
from support.program import Saved, save, stock_forward
from torch import nn

NUMBERS = (0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Small(nn.Module):
    """Weights, views, reductions, lists, live sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(16, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(16, 5)

    def forward(self, tokens):
        x = self.norm(self.embedding(tokens))
        y = torch.cat([x, torch.sigmoid(x)], dim=-1)
        return torch.softmax(self.out(y), dim=-1)[:, -1]


TOKENS = torch.tensor([[3, 1, 4, 1]])
SHAPES = {"tokens": {1: torch.export.Dim("length", max=12)}}


@pytest.fixture(scope="module")
def delegate() -> Delegate:
    made = export_delegate(Small(), (TOKENS,), SHAPES)
    return exported(made.blob, made.named, made.graph)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Saved:
    return save(
        tmp_path_factory.mktemp("hostile"), "small", Small(), (TOKENS,), dynamic_shapes=SHAPES
    )


def damaged(good: bytes, count: int, start: int = 0) -> Iterator[bytes]:
    """`count` copies of `good` with one to three cuts, flipped bits or overwritten numbers behind
    `start`; the same on every run."""
    for seed in range(count):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(start, len(data))
            match rng.randrange(4):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at] = rng.randrange(256)
                case 2:
                    at = min(at & ~3, len(data) - 4)
                    data[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS))
                case _ if rng.random() < 0.3:
                    del data[max(at, start + 1) :]
        yield bytes(data)


def is_sentence(text: str) -> bool:
    return len(text) >= 20 and text.isprintable()


def test_damaged_delegates(delegate: Delegate) -> None:
    good = delegate.load()
    expected = good.run(TOKENS)[0]
    outcomes = {"refused": 0, "ran": 0}
    for index, blob in enumerate(damaged(delegate.blob, 400)):
        try:
            with Model(blob, delegate.named, delegate.output_capacities) as model:
                model.run(*[TOKENS] * model.counts[0])
            outcomes["ran"] += 1
        except ModelError as error:
            assert is_sentence(str(error)), f"damage {index}: {error!s}"
            outcomes["refused"] += 1
        if index % 50 == 0:
            assert torch.equal(good.run(TOKENS)[0], expected)
    assert outcomes["refused"] > 200, outcomes


def test_missing_and_short_weights(delegate: Delegate) -> None:
    for key, data in delegate.named.items():
        without = {k: v for k, v in delegate.named.items() if k != key}
        with pytest.raises(ModelError, match=key[:8]):
            Model(delegate.blob, without, delegate.output_capacities)
        with pytest.raises(ModelError, match=rf"{len(data)}|{len(data) - 1}"):
            Model(delegate.blob, {**without, key: data[:-1]}, delegate.output_capacities)
    with delegate.load() as model:
        model.run(TOKENS)


def test_inspecting_damaged_programs(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pte"
    library = native.library()
    refused = 0
    for data in damaged(saved.pte.read_bytes(), 150):
        path.write_bytes(data)
        try:
            assert library.inspect(path, [], None)["methods"] is not None
        except executorch_webgpu.WebGPUError as error:
            assert is_sentence(str(error))
            refused += 1
    assert refused > 20


def test_damaged_delegates_under_the_stock_runtime(saved: Saved, tmp_path: Path) -> None:
    """Only the delegate is damaged: the rest of the file is not this project's to read."""
    program = saved.pte.read_bytes()
    start = program.index(b"VH00") - 4
    header = struct.unpack_from("<HIIIQ", program, start + 8)
    size = header[3] + header[4]
    good = stock_forward(saved)
    (expected,) = good(TOKENS)
    path = tmp_path / "damaged.pte"
    sentences = set()
    for blob in itertools.islice(damaged(program[start : start + size], 200), 60):
        path.write_bytes(program[:start] + blob.ljust(size, b"\0") + program[start + size :])
        native.library().clear_error()
        try:
            method = Runtime.get().load_program(path).load_method("forward")
            method.execute([TOKENS])
        except RuntimeError:
            assert is_sentence(executorch_webgpu.last_error())
            sentences.add(executorch_webgpu.last_error())
    assert len(sentences) > 10
    assert torch.equal(good(TOKENS)[0], expected)
