"""Skeletons of decoders of any size, exported without real weights."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import shapes
import torch
from executorch_webgpu.report import Work
from made_up_gguf import write_gguf
from sizes import Shape
from skeleton import Skeleton
from support.capi import Model

TINY = Shape(64, 1, 2, 1, 96, 128, 1e-5, 1e4)
# Query and output projections, keys and values, three of the feed-forward network.
LAYER = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64
HEAD = 128 * 64


@pytest.fixture(scope="module")
def tiny() -> Skeleton:
    return shapes.skeleton(TINY, 32)


def test_saving_memory_changes_nothing(tiny: Skeleton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_little_memory", nullcontext)
    assert shapes.skeleton(TINY, 32) == tiny


def test_skeleton_runs_with_made_up_weights(tiny: Skeleton) -> None:
    # 4 bits a weight and an f32 scale for every 32 of them; norms; keys and values of one head.
    weights = (LAYER + HEAD) // 32 * (16 + 4)
    assert tiny.work == Work(weights + 3 * 64 * 4, 2 * 32 * 4, LAYER, HEAD)
    with Model(tiny.blob, tiny.made_up_weights(), tiny.output_bytes) as model:
        for length, position in ((31, 0), (1, 31)):
            tokens = torch.arange(length).view(1, -1)
            (logits,) = model.run(tokens, torch.tensor([position]))
            assert logits.shape == (1, 128) and logits.isfinite().all()


def test_gguf_has_the_same_weights(tmp_path: Path) -> None:
    import gguf

    write_gguf(tmp_path / "tiny.gguf", TINY)
    tensors = gguf.GGUFReader(tmp_path / "tiny.gguf").tensors
    matrices = [t for t in tensors if t.tensor_type == gguf.GGMLQuantizationType.Q4_0]
    assert sum(int(t.n_elements) for t in matrices) == LAYER + HEAD
    assert len(tensors) - len(matrices) == 3
