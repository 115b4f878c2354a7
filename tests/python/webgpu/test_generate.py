"""Greedy decoding with the tokens kept on the GPU equals decoding with the logits read back."""

from __future__ import annotations

import pytest
import torch
from support.capi import Model, ModelError
from support.decoder import DecoderGraph, Sizes
from support.delegate import GraphBuilder, Value

SIZES = Sizes(2, 4, 2, 8, 64, 16, 100, 40, 20)


@pytest.fixture
def model() -> Model:
    return DecoderGraph(SIZES).build().load()


def step_by_step(model: Model, token: int, position: int, count: int) -> list[int]:
    tokens = []
    for at in range(position, position + count):
        (logits,) = model.run(torch.tensor([[token]]), torch.tensor([at]))
        token = int(logits.flatten().argmax())
        tokens.append(token)
    return tokens


def test_equals_single_steps(model: Model) -> None:
    prompt = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    expected = None
    for _ in range(2):  # the second after the first has left the cache full
        model.run(prompt, torch.tensor([0]))
        expected = step_by_step(model, 7, 8, 30)
        model.run(prompt, torch.tensor([0]))
        assert model.generate(7, 8, 30) == expected
    host = model.profile()["host_microseconds"]
    assert host.pop("ahead") == 0  # each step is encoded while the GPU works on others
    assert min(host.values()) > 0
    assert model.generate(7, 8, 1) == expected[:1]
    assert model.generate(7, 8, 0) == []


def test_goes_on_where_a_prompt_has_moved_the_logits(model: Model) -> None:
    """A first prompt takes more memory than the steps before it did."""
    prompt = torch.arange(20)[None]
    first = model.generate(7, 0, 5)
    assert first == step_by_step(model, 7, 0, 5)
    model.run(prompt, torch.tensor([0]))
    # Steps one by one come last: they would leave the same logits in the old place.
    generated = model.generate(7, 20, 10)
    assert generated == step_by_step(model, 7, 20, 10)
    assert generated[:5] != first


def test_stops_where_told_and_goes_on(model: Model) -> None:
    everything = model.generate(7, 0, 20)
    at = next(i for i, token in enumerate(everything) if i >= 5)
    stop = everything[at]
    first = everything.index(stop)
    assert model.generate(7, 0, 20, lambda token: token == stop) == everything[: first + 1]
    # What ran ahead of the stop is overwritten.
    assert model.generate(everything[first], first + 1, 5) == everything[first + 1 : first + 6]


def test_gives_what_fits_before_the_context_ends(model: Model) -> None:
    seen: list[int] = []
    with pytest.raises(ModelError, match=r"position 40 \+ 1 tokens pass the cache's 40"):
        model.generate(7, 36, 10, lambda token: bool(seen.append(token)))
    assert seen == model.generate(7, 36, 4)


def table(g: GraphBuilder, rows: int, width: int) -> tuple[Value, Value]:
    """Bytes and scales of a 4-bit matrix in groups of 32."""
    packed = torch.randint(0, 256, (rows, width // 2)).to(torch.uint8)
    return g.constant(packed), g.constant(torch.rand(rows, width // 32) - 0.5)


@pytest.mark.parametrize("vocabulary", [100, 7])  # logits are read by four, or one by one
@pytest.mark.parametrize("reads_tokens", [True, False])
def test_a_model_of_two_layers(reads_tokens: bool, vocabulary: int) -> None:
    """Too small to keep the tokens and the logits apart; or to look at the tokens at all."""
    torch.manual_seed(0)
    g = GraphBuilder()
    tokens, position = g.input(torch.int64, (1, 1)), g.input(torch.int64, (1,))
    index = tokens if reads_tokens else position
    shape = (1, 1, 64) if reads_tokens else (1, 64)
    name = "et_vk.embedding_q4gsw.default"
    x = g.call(name, *table(g, 100, 64), 32, index, False, out=(torch.float32, shape))
    weight = g.prepack(torch.randn(vocabulary, 64))
    logits = (torch.float32, (*shape[:-1], vocabulary))
    g.output(g.call("aten.linear.default", x, weight, None, out=logits))
    with g.load() as model:
        expected = step_by_step(model, 7, 3, 20)
        assert len(set(expected)) > 1
        assert model.generate(7, 3, 20) == expected


def test_wrong_arguments_are_explained(model: Model) -> None:
    with pytest.raises(ModelError, match="position -1"):
        model.generate(7, -1, 3)
    with pytest.raises(ModelError, match="int32"):
        model.generate(2**40, 0, 3)
    assert len(model.generate(7, 0, 3)) == 3
