"""Calls like the last one, whose commands are recorded on a GPU while it works on that."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.capi import ModelError
from support.cases import F32, SUMS, check_outputs, rng_for
from support.decoder import CLOSE, DecoderGraph, Sizes, logits, reference
from support.delegate import GraphBuilder, Value


def test_steps_follow_the_position() -> None:
    """Their commands are recorded before they come, for as many splits of the keys as the last."""
    z = Sizes(1, 4, 2, 8, 32, 16, 40, context=400, most=200)  # of one layer: keys are a token's own
    graph = DecoderGraph(z)
    made, rng = graph.weights.made, rng_for("steps")
    with graph.build().load() as model, torch.no_grad():
        seen: list[int] = []
        single = (5, 6, 7, 390, 8, 391, 392, 393, 130, 131, 132, 60, 61, 394)
        prompts = [(3, 150), (7, 100), (2, 60)]
        calls = [(0, 200), (200, 190), *((at, 1) for at in single), *prompts, (395, 1), (9, 1)]
        for at, count in calls:
            fed = [rng.randrange(z.vocabulary) for _ in range(count)]
            got = model.run(torch.tensor([fed]), torch.tensor([at]))
            seen[at : at + count] = fed
            hidden = reference(z, made, torch.tensor(seen[: at + count]))
            check_outputs(got, [logits(z, made, hidden[-1:])], CLOSE, f"{count} tokens at {at}")


def test_a_call_that_fails_leaves_no_stale_commands() -> None:
    """It may have moved what the calls before it used. More dispatches than one submit takes."""
    g = GraphBuilder()
    x = total = g.input(F32, (64, 8))
    for _ in range(49):
        total = g.call("aten.add.Tensor", total, x, 1, out=(F32, (64, 8)))
    g.output(g.call("aten.bmm.default", *_matrices(g, total), out=(F32, (1, 64, 8))))
    with replace(g.delegate(), output_capacities=[4 * 8 * 4]).load() as model:
        for rows in (4, 4, 4, 64, 4, 3, 3, 3, 4):
            fed = torch.randint(-9, 10, (rows, 8)).float()
            if rows == 64:
                with pytest.raises(ModelError, match="room for 128"):
                    model.run(fed)
                continue
            check_outputs(model.run(fed), [(50 * fed)[None].cumsum(-1)], SUMS, f"{rows} rows")


def _matrices(g: GraphBuilder, x: Value) -> tuple[Value, Value]:
    """x as a batch of one, and a matrix that sums along rows."""
    batch = g.call("aten.unsqueeze_copy.default", x, 0, out=(F32, (1, 64, 8)))
    return batch, g.prepack(torch.ones(1, 8, 8).triu())
