"""Linear layers with one scale per output row, and those whose names say that x is quantized."""

from __future__ import annotations

import pytest
import torch
from support.cases import F32, SUMS, check_outputs, generator_for
from support.delegate import GraphBuilder
from torch.nn import functional as F

SHAPES = [(64, 7, 4), (32, 33, 70), (36, 1, 5)]


def rows_at(rows: int) -> tuple[int, ...]:
    """Live row counts in shrink-grow order."""
    return (rows, 1, min(rows, 3), rows)


@pytest.mark.parametrize(("k", "n", "rows"), SHAPES)
def test_four_and_eight_bits_per_channel(k: int, n: int, rows: int) -> None:
    generator = generator_for("channels", k, n, rows)
    scales = torch.rand(n, generator=generator) * 0.2 - 0.1
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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("k", "n", "rows"), SHAPES)
def test_quantized_activations(k: int, n: int, rows: int, bias: bool) -> None:
    """linear_q8ta_q8csw dequantizes an integer x; linear_dq8ca_q4gsw keeps x as it is."""
    generator = generator_for("activations", k, n, rows)
    added = torch.randn(n, generator=generator) if bias else None
    scales = torch.rand(n, generator=generator) * 0.2 - 0.1
    weight = torch.randint(-127, 128, (n, k), generator=generator).to(torch.int8)
    g = GraphBuilder()
    x = g.input(torch.int8, (rows, k))
    args = (0.05, 3, g.constant(weight), g.constant(weight.sum(1).to(torch.int32)))
    constant_bias = None if added is None else g.constant(added)
    g.output(
        g.call(
            "et_vk.linear_q8ta_q8csw.default",
            x,
            *args,
            g.constant(scales),
            constant_bias,
            out=(F32, (rows, n)),
        )
    )
    with g.load() as model:
        for live in rows_at(rows):
            given = torch.randint(-128, 128, (live, k), generator=generator).to(torch.int8)
            expected = F.linear((given.float() - 3) * 0.05, weight.float() * scales[:, None], added)
            check_outputs(model.run(given), [expected], SUMS, f"q8ta with {live} rows")

    group = 4
    packed = torch.randint(0, 256, (n, k // 2), generator=generator).to(torch.uint8)
    grouped = torch.rand(k // group, n, generator=generator) * 0.2 - 0.1
    values = torch.stack([packed & 15, packed >> 4], -1).reshape(n, k).float() - 8
    dequantized = values * grouped.t().repeat_interleave(group, 1)
    g = GraphBuilder()
    x = g.input(F32, (rows, k))
    x_scale, x_zero = g.input(F32, (rows,)), g.input(torch.int8, (rows,))
    sums = g.constant(torch.zeros(k // group, n, dtype=torch.int32))
    constant_bias = None if added is None else g.constant(added)
    g.output(
        g.call(
            "et_vk.linear_dq8ca_q4gsw.default",
            x,
            x_scale,
            x_zero,
            g.constant(packed),
            sums,
            g.constant(grouped),
            group,
            constant_bias,
            out=(F32, (rows, n)),
        )
    )
    with g.load() as model:
        for live in rows_at(rows):
            given = torch.randn(live, k, generator=generator)
            expected = F.linear(given, dequantized, added)
            unused = (torch.ones(live), torch.zeros(live, dtype=torch.int8))
            check_outputs(model.run(given, *unused), [expected], SUMS, f"dq8ca with {live} rows")
