"""Linear layers with one scale per output row, and those that quantize x."""

from __future__ import annotations

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    F16,
    F32,
    SUMS,
    TIGHT,
    Arg,
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
from torch.nn import functional as F

SHAPES = [(64, 7, 4), (32, 33, 70), (36, 1, 5)]


def rows_at(rows: int) -> tuple[int, ...]:
    """Live row counts in shrink-grow order."""
    return (rows, 1, min(rows, 3), rows)


@pytest.mark.parametrize("scale_type", [F32, F16])
@pytest.mark.parametrize(("k", "n", "rows"), SHAPES)
def test_four_and_eight_bits_per_channel(
    k: int, n: int, rows: int, scale_type: torch.dtype
) -> None:
    generator = generator_for("channels", k, n, rows)
    scales = (torch.rand(n, generator=generator) * 0.2 - 0.1).to(scale_type)
    nibbles = torch.randint(-8, 8, (n, k), generator=generator)
    packed = ((nibbles[:, ::2] + 8) << 4 | (nibbles[:, 1::2] + 8)).to(torch.uint8)
    wide = torch.randint(-127, 128, (n, k), generator=generator).to(torch.int8)
    for name, stored, weight in (
        ("et_vk.linear_qcs4w.default", packed, nibbles),
        ("aten._weight_int8pack_mm.default", wide, wide),
    ):
        g = GraphBuilder()
        x = g.input(F32, (rows, k))
        g.output(g.call(name, x, g.constant(stored), g.constant(scales), out=(F32, (rows, n))))
        with g.load() as model:
            for live in rows_at(rows):
                given = torch.randn(live, k, generator=generator)
                expected = F.linear(given, weight.float() * scales[:, None])
                check_outputs(model.run(given), [expected], SUMS, f"{name} with {live} rows")


def in_eight_bits(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """What is left of x [rows, k], with scales and zero points [rows] or for all."""
    scale, zero = (t.reshape(-1, 1) for t in (scale, zero.float()))
    return (((x * (1.0 / scale)).round() + zero).clamp(-128, 127) - zero) * scale


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, F32])
@pytest.mark.parametrize(("k", "n", "rows"), SHAPES)
def test_activations_with_one_scale(
    k: int, n: int, rows: int, dtype: torch.dtype, bias: bool
) -> None:
    """linear_q8ta_q8csw takes x in 8 bits, or quantizes it."""
    generator = generator_for("one scale", k, n, rows)
    added = torch.randn(n, generator=generator) if bias else None
    scales = torch.rand(n, generator=generator) * 0.2 - 0.1
    weight = torch.randint(-127, 128, (n, k), generator=generator).to(torch.int8)
    scale, zero = torch.tensor(1 / 64), torch.tensor(-3)
    g = GraphBuilder()
    x = g.input(dtype, (rows, k))
    parts = [g.constant(t) for t in (weight, weight.sum(1).to(torch.int32), scales)]
    parts.append(None if added is None else g.constant(added))
    args = (x, scale.item(), zero.item(), *parts)
    g.output(g.call("et_vk.linear_q8ta_q8csw.default", *args, out=(F32, (rows, n))))
    with g.load() as model:
        for live in rows_at(rows):
            given = torch.randint(-128, 128, (live, k), generator=generator).to(torch.int8)
            taken = (given.float() - zero) * scale
            if dtype == F32:
                given = torch.randn(live, k, generator=generator)  # up to twice what fits
                taken = in_eight_bits(given, scale, zero)
            expected = F.linear(taken, weight.float() * scales[:, None], added)
            check_outputs(model.run(given), [expected], SUMS, f"{live} rows")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("k", "n", "rows"), SHAPES)
def test_activations_with_a_scale_for_each_row(k: int, n: int, rows: int, bias: bool) -> None:
    generator = generator_for("row scales", k, n, rows)
    added = torch.randn(n, generator=generator) if bias else None
    group = 4
    packed = torch.randint(0, 256, (n, k // 2), generator=generator).to(torch.uint8)
    grouped = torch.rand(k // group, n, generator=generator) * 0.2 - 0.1
    values = torch.stack([packed & 15, packed >> 4], -1).reshape(n, k).float() - 8
    dequantized = values * grouped.t().repeat_interleave(group, 1)
    g = GraphBuilder()
    x = g.input(F32, (rows, k))
    x_scale, x_zero = g.input(F32, (rows,)), g.input(torch.int8, (rows,))
    sums = g.constant(torch.zeros(k // group, n, dtype=torch.int32))
    parts = (g.constant(packed), sums, g.constant(grouped), group)
    constant_bias = None if added is None else g.constant(added)
    args = (x, x_scale, x_zero, *parts, constant_bias)
    g.output(g.call("et_vk.linear_dq8ca_q4gsw.default", *args, out=(F32, (rows, n))))
    with g.load() as model:
        for live in rows_at(rows):
            given = torch.randn(live, k, generator=generator)
            # Powers of two, so that every device rounds alike.
            scale = 2.0 ** torch.randint(-7, -4, (live,), generator=generator)
            zero = torch.randint(-128, 128, (live,), generator=generator).to(torch.int8)
            expected = F.linear(in_eight_bits(given, scale, zero), dequantized, added)
            check_outputs(model.run(given, scale, zero), [expected], SUMS, f"{live} rows")
        if rows > 1:
            with pytest.raises(ModelError, match=r"do not fit the \d+ rows"):
                model.run(given, scale[:1], zero[:1])


@pytest.mark.parametrize("seed", seeds(20))
def test_scales_and_zero_points_of_rows(seed: int) -> None:
    """torchao.choose_qparams_affine of rows over the last dimensions."""
    import torchao.quantization.quant_primitives  # noqa: F401  registers it

    rng = rng_for("choose_qparams", seed)
    mapping, keepdim = ("ASYMMETRIC", "SYMMETRIC")[seed % 2], seed % 3 == 0
    bound = (*random_shape(rng, rng.randint(0, 3), elements=200), rng.choice((2, 3, 64, 577)))
    over = 2 if seed % 5 == 4 and len(bound) > 1 else 1
    lead = len(bound) - over
    block = [1] * lead + list(bound[lead:])
    low, high = rng.choice(((-128, 127), (-8, 7)))
    # All of one sign at times, or nothing but zeros: 0 is in the range, and no scale is 0.
    first, last = rng.choice(((-2.0, 2.0), (1.0, 3.0), (-3.0, -1.0), (0.0, 0.0)))

    def reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        args = (mapping, [1] * lead + [*x.shape[lead:]], torch.int8, low, high, None, None)
        return torch.ops.torchao.choose_qparams_affine(x, *args, torch.int32, keepdim)

    check_op(
        "torchao.choose_qparams_affine.default",
        [Arg(bound, low=first, high=last)],
        reference,
        args=lambda g, x: (x, mapping, block, None, low, high, None, None, None, keepdim),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, lead))],
        tolerance=TIGHT,
        key=seed,
    )
