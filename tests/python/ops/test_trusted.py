"""Programs that are trusted: kernels without the provider's checks give the same results.

Indices that come with the inputs are checked by the kernels themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.cases import F32, I64, SUMS, check_outputs, rng_for, seeds
from support.decoder import DecoderGraph, converse, random_sizes
from support.delegate import GraphBuilder
from support.options import option


@pytest.fixture(autouse=True)
def trusted() -> Iterator[None]:
    with option("trusted", "1"):
        yield


def test_tokens_past_the_table_are_zeros() -> None:
    table = torch.randn(5, 8)
    g = GraphBuilder()
    tokens = g.input(I64, (1, 6))
    args = (g.constant(table), tokens, -1, False, False)
    g.output(g.call("aten.embedding.default", *args, out=(F32, (1, 6, 8))))
    with g.load() as model:
        picked = torch.tensor([[0, 4, 5, -1, 2**31 - 1, 1]])
        wanted = torch.where((picked >= 0) & (picked < 5), 1.0, 0.0)[..., None]
        check_outputs(model.run(picked), [table[picked.clamp(0, 4)] * wanted], SUMS, "tokens")


def test_indices_past_a_dimension_are_clamped() -> None:
    g = GraphBuilder()
    x, index = g.input(F32, (5, 4)), g.input(I64, (6,))
    g.output(g.call("aten.index_select.default", x, 0, index, out=(F32, (6, 4))))
    with g.load() as model:
        rows = torch.randn(5, 4)
        picked = torch.tensor([0, 4, 5, 2**31 - 1, -(2**31), 2])
        check_outputs(model.run(rows, picked), [rows[picked.clamp(0, 4)]], SUMS, "indices")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_points_outside_an_image_do_no_harm(bad: float) -> None:
    g = GraphBuilder()
    image, points = g.input(F32, (1, 2, 4, 5)), g.input(F32, (1, 2, 2, 2))
    args = (image, points, 0, 1, True)
    g.output(g.call("aten.grid_sampler_2d.default", *args, out=(F32, (1, 2, 2, 2))))
    with g.load() as model:
        at = torch.zeros(1, 2, 2, 2)
        at[0, 0, 0] = bad
        picture = torch.ones(1, 2, 4, 5)
        (out,) = model.run(picture, at)
        assert torch.equal(out[0, :, 1], torch.ones(2, 2))


@pytest.mark.parametrize("seed", seeds(6))
def test_a_decoder_beside_one_that_is_checked(seed: int) -> None:
    """Both on one adapter at a time; each converses."""
    rng = rng_for("trusted", seed)
    sizes = random_sizes(rng, seed)
    graph = DecoderGraph(sizes)
    made = graph.weights.made
    with graph.build().load() as trusting, torch.no_grad():
        with option("trusted", "0"):
            checking = graph.g.load()
        with checking:
            converse(trusting, sizes, made, rng)
            converse(checking, sizes, made, rng)
            converse(trusting, sizes, made, rng)
