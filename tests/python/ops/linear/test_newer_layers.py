"""Layers as newer exporters write them: swiglu, and q, k and v as one 4-bit layer whose output is
split into heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.capi import ModelError
from support.cases import (
    F16,
    F32,
    I32,
    NORMAL,
    Arg,
    Shape,
    check_op,
    check_outputs,
    generator_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder
from support.quantized import LONG_SUMS, linear_reference, random_weight

SPLIT = "et_vk.linear_dq8ca_q4gsw_split.default"
WHOLE = "et_vk.linear_dq8ca_q4gsw.default"


@pytest.mark.parametrize("seed", seeds(50))
def test_swiglu(seed: int) -> None:
    rng = rng_for("swiglu", seed)
    bound = random_shape(rng, rng.randint(0, 4), elements=3000)
    dtype = F16 if seed % 6 == 5 else F32
    most = (3.0, 30.0, 100.0)[seed % 3]
    check_op(
        "et_vk.swiglu.default",
        [Arg(bound, dtype, -most, most)] * 2,
        lambda gate, up: F.silu(gate.float()).mul(up.float()).to(dtype),
        live=[[s, s] for s in live_shapes(rng, bound, subset(rng, len(bound)), least=0)],
        tolerance=NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("rows", [1, 5])
def test_swiglu_of_two_4_bit_layers(rows: int) -> None:
    """One dispatch, as silu and a product are."""
    gate, up = (random_weight(40, 64, 32, seed) for seed in (0, 1))
    g = GraphBuilder()
    x = g.input(F32, (rows, 64))
    name = "et_vk.linear_q4gsw.default"
    both = [
        g.call(name, x, g.constant(w), g.constant(s), 32, None, out=(F32, (rows, 40)))
        for w, s in (gate, up)
    ]
    g.output(g.call("et_vk.swiglu.default", *both, out=(F32, (rows, 40))))
    given = torch.randn(rows, 64, generator=generator_for("swiglu"))
    one, two = (linear_reference(given, w, s, 32) for w, s in (gate, up))
    with g.load() as model:
        check_outputs(model.run(given), [F.silu(one) * two], LONG_SUMS)


# --- linear_dq8ca_q4gsw_split ---------------------------------------------------------------------


def qparams(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points of rows, as torchao chooses them for int8 activations."""
    least, most = x.amin(-1).clamp(max=0), x.amax(-1).clamp(min=0)
    scales = ((most - least) / 255).clamp(min=torch.finfo(F32).eps)
    return scales, (-128 - torch.round(least / scales)).clamp(-128, 127).to(I32)


def quantized(x: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    scales, zeros = scales.reshape(*x.shape[:-1], 1), zeros.reshape(*x.shape[:-1], 1)
    q = (torch.round(x * (1.0 / scales)) + zeros).clamp(-128, 127)
    return (q - zeros) * scales


def split_graph(
    bound: Shape, weight: tuple[torch.Tensor, torch.Tensor], group: Any, widths: list[int],
    heads: list[int], chosen: bool, outs: list[Shape] | None = None,
) -> GraphBuilder:  # fmt: skip
    g = GraphBuilder()
    x = g.input(F32, bound)
    rows = bound[:-1]
    scales = None if chosen else g.input(F32, rows)
    zeros = None if chosen else g.input(I32, rows)
    packed, weight_scales = weight
    sums = g.constant(torch.zeros(weight_scales.shape, dtype=I32))
    constants = g.constant(packed), sums, g.constant(weight_scales), group
    shapes = outs or [
        (*rows, n) if not h else (*rows, n // h, h) for n, h in zip(widths, heads, strict=True)
    ]
    args = x, scales, zeros, *constants, widths, heads
    g.output(*g.call(SPLIT, *args, out=[(F32, s) for s in shapes]))
    return g


@pytest.mark.parametrize("seed", seeds(50))
def test_split_layer(seed: int) -> None:
    """One to five outputs, with heads and without; x's scales given, or chosen by the operator."""
    rng = rng_for("split", seed)
    group = (32, 64, 16, 8)[seed % 4]
    k = group * rng.choice((1, 2, 4))
    widths = [rng.choice((8, 16, 24, 64, 72)) for _ in range(3 if seed % 3 else rng.randint(1, 5))]
    heads = [rng.choice((0, 4, 8)) for _ in widths]
    packed, scales = random_weight(sum(widths), k, group, seed)
    lead = random_shape(rng, rng.randint(1, 2), most=20, elements=60)
    chosen = seed % 2 == 0
    graph = split_graph((*lead, k), (packed, scales), group, widths, heads, chosen)
    with graph.load() as model:
        for step, rows in enumerate(live_shapes(rng, lead, range(len(lead)), 3, least=0)):
            x = torch.randn(*rows, k, generator=generator_for("split", seed, step))
            given = qparams(x)
            whole = linear_reference(quantized(x, *given), packed, scales, group)
            expected = [
                part.reshape(*rows, n) if not h else part.reshape(*rows, n // h, h)
                for part, n, h in zip(whole.split(widths, -1), widths, heads, strict=True)
            ]
            got = model.run(x) if chosen else model.run(x, *given)
            check_outputs(got, expected, LONG_SUMS, f"{rows} {widths} {heads}")


def test_a_layer_that_chooses_scales_itself() -> None:
    packed, scales = random_weight(24, 64, 32, 0)
    g = GraphBuilder()
    x = g.input(F32, (7, 64))
    sums = g.constant(torch.zeros(2, 24, dtype=I32))
    weight = g.constant(packed), sums, g.constant(scales), 32
    g.output(g.call(WHOLE, x, None, None, *weight, None, out=(F32, (7, 24))))
    with g.load() as model:
        for rows in (7, 1, 0, 4):
            given = torch.randn(rows, 64, generator=generator_for("chosen", rows))
            near = quantized(given, *qparams(given)) if rows else given
            expected = linear_reference(near, packed, scales, 32)
            check_outputs(model.run(given), [expected], LONG_SUMS)


@pytest.mark.parametrize(
    ("widths", "heads", "outs", "says"),
    [
        ([16, 8], [0], None, "2 widths and 1 head widths are given for 2 outputs"),
        ([16, 24], [0, 0], None, r"widths \[16, 24\] are not those of runs of rows .* \[32, 32\]"),
        ([16, -8], [0, 0], [(3, 16), (3, 8)], r"widths \[16, -8\] are not those of runs of rows"),
        ([16, 0], [0, 0], [(3, 16), (3, 8)], r"widths \[16, 0\] are not those of runs of rows"),
        ([16, 16], [5, 0], [(3, 3, 5), (3, 16)], "16 columns do not divide into heads of 5"),
        ([16, 16], [-4, 0], [(3, 4, 4), (3, 16)], "16 columns do not divide into heads of -4"),
        (
            [16, 16],
            [4, 0],
            [(3, 16), (3, 16)],
            r"\[3, 4, 4\], but its recorded sizes are \[3, 16\]",
        ),
    ],
)
def test_split_layer_refuses_what_does_not_fit(
    widths: list[int], heads: list[int], outs: list[Shape] | None, says: str
) -> None:
    weight = random_weight(32, 64, 32, 0)
    shapes = outs or [(3, n) for n in widths]
    with pytest.raises(ModelError, match=says):
        split_graph((3, 64), weight, 32, widths, heads, True, shapes).load()


@pytest.mark.parametrize("group", [0, -32, 48])
def test_split_layer_refuses_groups_that_do_not_divide(group: int) -> None:
    weight = random_weight(32, 64, 32, 0)
    with pytest.raises(ModelError, match=f"the group size {group} does not divide the 64"):
        split_graph((3, 64), weight, group, [16, 16], [0, 0], True).load()


def test_scales_without_zero_points_are_refused() -> None:
    packed, scales = random_weight(24, 64, 32, 0)
    g = GraphBuilder()
    sums = g.constant(torch.zeros(2, 24, dtype=I32))
    weight = g.constant(packed), sums, g.constant(scales), 32
    args = g.input(F32, (7, 64)), g.input(F32, (7,)), None
    g.output(g.call(WHOLE, *args, *weight, None, out=(F32, (7, 24))))
    with pytest.raises(ModelError, match="x has scales without zero points"):
        g.load()
