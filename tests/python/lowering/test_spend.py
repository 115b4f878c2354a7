"""Weights are given back while they are written down, and the program has the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import pytest
from executorch.backends.vulkan import utils
from executorch_webgpu import heap
from executorch_webgpu.decoders import lower as decoders
from executorch_webgpu.decoders.lower import lower
from executorch_webgpu.lowering import spend
from support.small_decoder import CONTEXT, small_decoder
from torch import Tensor, nn


def quantized(model: nn.Module) -> list[Tensor]:
    return list(decoders._quantized(model))


def held(tensors: list[Tensor]) -> int:
    """Bytes of memory that they take."""
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.parametrize("vocabulary", [128, 131])  # rows that need padding, or none
@pytest.mark.parametrize("bits", [4, 8])
def test_bytes_are_those_of_a_model_that_is_kept(
    bits: Literal[4, 8], vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap, "_ROWS", 48)  # several parts, the last one shorter
    model = small_decoder(bits, vocabulary)
    spent = lower(model, CONTEXT, {}, lambda *_: None).buffer
    kept = small_decoder(bits, vocabulary)
    before = held(quantized(kept))
    monkeypatch.setattr(decoders, "spending", lambda _: nullcontext())
    assert lower(kept, CONTEXT, {}, lambda *_: None).buffer == spent
    assert held(quantized(kept)) == before
    # Rows that were padded are new tensors, which nothing is known of.
    assert held(quantized(model)) <= (0 if vocabulary == 128 else before / 2)


def test_nothing_is_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first packed weight on, what is held gets less: no layer adds to it."""
    model = small_decoder()
    weights, packed = quantized(model), []
    whole, most = held(weights), 0

    @contextmanager
    def watching(given: Any) -> Iterator[None]:
        with spend.spending(given):
            upstream = utils.update_program_state_dict

            def update(program: Any, name: str, tensor: Tensor) -> None:
                nonlocal most
                upstream(program, name, tensor)
                packed.append(tensor)
                most = max(most, held(weights) + held(packed))

            monkeypatch.setattr(utils, "update_program_state_dict", update)
            yield
            monkeypatch.setattr(utils, "update_program_state_dict", upstream)

    monkeypatch.setattr(decoders, "spending", watching)
    lower(model, CONTEXT, {}, lambda *_: None)
    assert len(packed) == len(weights) - 1  # an embedding's scales stay as they are
    assert most <= whole
    assert held(packed) == held(weights) == 0


def test_what_is_not_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "spending", lambda given: spend.spending([*given][2:]))
    model = small_decoder()
    lower(model, CONTEXT, {}, lambda *_: None)
    values, scales, *others = quantized(model)
    assert held([values]) and held([scales]) and not held(others)
