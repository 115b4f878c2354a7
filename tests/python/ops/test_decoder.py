"""Whole decoders as exporters write them, in odd sizes: what passes fuse must stay what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.capi import ModelError
from support.cases import check_outputs, rng_for, seeds
from support.decoder import CLOSE, DecoderGraph, Sizes, converse, logits, random_sizes, reference


@pytest.mark.parametrize("seed", seeds(30))
def test_decoder(seed: int) -> None:
    rng = rng_for("decoder", seed)
    sizes = random_sizes(rng, seed)
    graph = DecoderGraph(sizes)
    with graph.build().load() as model, torch.no_grad():
        converse(model, sizes, graph.weights.made, rng)


@pytest.mark.parametrize("heads", [(2, 1, 16), (3, 1, 32), (6, 3, 64), (36, 9, 8), (20, 10, 32)])
def test_attention_in_many_splits(heads: tuple[int, int, int]) -> None:
    """Single steps far into a context, where kernels for them take many splits of the keys."""
    sizes = Sizes(1, *heads, 32, 16, 50, context=300, most=140)
    graph = DecoderGraph(sizes)
    made, rng = graph.weights.made, rng_for("splits", *heads)
    with graph.build().load() as model, torch.no_grad():
        seen: list[int] = []
        for count in (127, 1, 1, 1, 100, 33, 1, 1):
            fed = [rng.randrange(sizes.vocabulary) for _ in range(count)]
            got = model.run(torch.tensor([fed]), torch.tensor([len(seen)]))
            seen += fed
            expected = logits(sizes, made, reference(sizes, made, torch.tensor(seen))[-1:])
            check_outputs(got, [expected], CLOSE, f"{count} tokens at {len(seen) - count}")


@pytest.mark.parametrize("half_split", [False, True])
def test_past_the_context(half_split: bool) -> None:
    """The sentence is about the position and the cache, not about the tables cut there."""
    sizes = replace(random_sizes(rng_for("past"), 0), half_split=half_split, context=20, most=5)
    with DecoderGraph(sizes).build().load() as model:
        for at, count in ((20, 1), (17, 4), (1000, 5)):
            sentence = rf"position {at} \+ {count} tokens pass the cache's 20"
            with pytest.raises(ModelError, match=sentence):
                model.run(torch.zeros(1, count, dtype=torch.int64), torch.tensor([at]))
