"""4-bit weights in groups: linear_q4gsw and embedding_q4gsw."""

from __future__ import annotations

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::embedding_q4gsw
import pytest
import torch
from support.capi import ModelError
from support.cases import (
    EXACT,
    F16,
    F32,
    HALF,
    I32,
    I64,
    SUMS,
    TIGHT,
    Tolerance,
    check_output,
    check_outputs,
    generator_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder
from support.quantized import LONG_SUMS, linear_graph, linear_reference, random_weight, unpacked


@pytest.mark.parametrize("seed", seeds(40))
def test_linear_q4gsw(seed: int) -> None:
    """Any group size and odd N; up to 200 rows, one row in between, in any order."""
    rng = rng_for("linear_q4gsw", seed)
    group = (32, 64, 128, 16, 8, 256)[seed % 6]
    k = group * rng.choice((1, 2, 3, 5))
    n = rng.choice((1, 2, 7, 8, 33, 64, 65, 100, 200, 257))
    rows = rng.choice((1, 5, 33, 64, 200))
    outer = ((), (1,), (1, 1), (2,))[seed % 4]
    packed, scales = random_weight(n, k, group, seed, (F32, F16)[seed // 6 % 2])
    bias = torch.randn(n, generator=generator_for(seed)) if seed % 3 == 0 else None
    live = [rows, 1, rng.randint(1, rows), 1, rng.randint(1, rows), rows]
    rng.shuffle(live)
    with linear_graph((*outer, rows, k), packed, scales, group, bias).load() as model:
        for step, m in enumerate(live):
            x = torch.randn(*outer, m, k, generator=generator_for(seed, step))
            expected = linear_reference(x, packed, scales, group)
            if bias is not None:
                expected = expected + bias
            where = f"[{m} of {rows}, {k}] x [{n}] in groups of {group}"
            check_outputs(model.run(x), [expected], LONG_SUMS, where)


@pytest.mark.parametrize("scale_type", [F32, F16])
def test_linear_q4gsw_row_counts_from_1_to_200(scale_type: torch.dtype) -> None:
    """Every route by row count on one loaded model, growing and shrinking."""
    rng = rng_for("row counts")
    packed, scales = random_weight(97, 96, 32, 0, scale_type)
    counts = [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 129, 199, 200]
    rng.shuffle(counts)
    with linear_graph((1, 200, 96), packed, scales, 32, None).load() as model:
        for m in counts:
            x = torch.randn(1, m, 96, generator=generator_for(m))
            expected = linear_reference(x, packed, scales, 32)
            check_outputs(model.run(x), [expected], LONG_SUMS, f"{m} rows")


@pytest.mark.parametrize("shape", [(576, 1536), (1536, 576), (49152, 64), (70000, 32)])
def test_linear_q4gsw_of_model_sizes(shape: tuple[int, int]) -> None:
    n, k = shape
    packed, scales = random_weight(n, k, 32, 0)
    with linear_graph((5, k), packed, scales, 32, None).load() as model:
        for m in (1, 5, 2):
            x = torch.randn(m, k, generator=generator_for(m))
            expected = linear_reference(x, packed, scales, 32)
            check_outputs(model.run(x), [expected], LONG_SUMS, f"{m} rows of {shape}")


# The fourth is so deep that invocations go around, the last so wide that workgroups take two panels
# where subgroups are large, with half a workgroup left over.
@pytest.mark.parametrize("scale_type", [F32, F16])
@pytest.mark.parametrize(
    ("n", "k", "group"),
    [(2080, 2048, 32), (515, 8192, 128), (33000, 160, 32), (3080, 4160, 32), (64130, 96, 32)],
)
def test_one_row_of_large_layers(n: int, k: int, group: int, scale_type: torch.dtype) -> None:
    """Layers of so many weights that GPUs multiply x's bytes: rounding must not show.

    A block of x with one large element leaves the others few of its bits, and its error must be
    small beside what that element gives; a block of zeros and one of denormals give nothing.
    """
    packed, scales = random_weight(n, k, group, 0, scale_type)
    with linear_graph((4, k), packed, scales, group, None).load() as model:
        for seed in range(3):
            x = torch.randn(1, k, generator=generator_for(seed))
            x[:, :32] = 0
            x[:, 32:64] = 1e-39
            check_outputs(
                model.run(x),
                [linear_reference(x, packed, scales, group)],
                LONG_SUMS,
                f"seed {seed}",
            )
        x[:, 64:96] *= 1e-4
        x[:, 70] = 3e6
        expected = linear_reference(x, packed, scales, group)
        large = Tolerance(LONG_SUMS.relative, 3e6 * LONG_SUMS.absolute)
        check_outputs(model.run(x), [expected], large, "one large element")


NOT_FINITE = (torch.nan, torch.inf, -torch.inf)


@pytest.mark.parametrize("special", [torch.nan, torch.inf])
def test_what_is_no_number_shows_in_every_result(special: float) -> None:
    packed, scales = random_weight(2080, 2048, 32, 0)
    with linear_graph((4, 2048), packed, scales, 32, None).load() as model:
        x = torch.randn(1, 2048, generator=generator_for("special"))
        x[0, 1000] = special
        (got,) = model.run(x)
        check_output(got, [torch.full((1, 2080), e) for e in NOT_FINITE], EXACT)


def test_linear_q4gsw_of_half_floats() -> None:
    packed, scales = random_weight(40, 64, 32, 0)
    with linear_graph((9, 64), packed, scales, 32, torch.ones(40), F16).load() as model:
        for m in (9, 1, 4):
            x = torch.randn(m, 64, generator=generator_for(m)).half()
            expected = linear_reference(x, packed, scales.half().float(), 32) + 1
            check_outputs(model.run(x), [expected.half()], HALF, f"{m} rows")


def test_two_linears_share_a_weight_and_an_input() -> None:
    """Equal weights are one constant; the layout made of it serves both."""
    packed, scales = random_weight(24, 64, 32, 0)
    g = GraphBuilder()
    x = g.input(F32, (6, 64))
    outputs = []
    for bias in (None, torch.arange(24.0)):
        weight = (g.constant(packed), g.constant(scales), 32)
        b = None if bias is None else g.constant(bias)
        outputs.append(g.call("et_vk.linear_q4gsw.default", x, *weight, b, out=(F32, (6, 24))))
    g.output(*outputs)
    with g.load() as model:
        for m in (1, 6, 3):
            x_live = torch.randn(m, 64, generator=generator_for(m))
            expected = linear_reference(x_live, packed, scales, 32)
            check_outputs(model.run(x_live), [expected, expected + torch.arange(24.0)], LONG_SUMS)


def test_linear_q4gsw_refuses_a_group_that_does_not_divide_k() -> None:
    packed, scales = random_weight(8, 96, 32, 0)
    with pytest.raises(ModelError, match=r"96|64"):
        linear_graph((2, 96), packed, scales, 64, None).load()


def test_linear_q4gsw_refuses_a_weight_of_other_width() -> None:
    packed, scales = random_weight(8, 96, 32, 0)
    with pytest.raises(ModelError, match=r"128|96"):
        linear_graph((2, 128), packed, scales, 32, None).load()


# --- Embedding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(32))
def test_embedding_q4gsw(seed: int) -> None:
    """Both nibble orders, any rank of indices."""
    rng = rng_for("embedding_q4gsw", seed)
    group = (32, 64, 96, 32)[seed % 4]
    width = group * rng.choice((1, 2, 3))
    width += 0 if width % 32 == 0 else 32 - width % 32
    rows = rng.choice((1, 7, 100, 1000))
    is_linear = seed % 2 == 0
    generator = generator_for("embedding", seed)
    packed = torch.randint(0, 256, (rows, width // 2), generator=generator).to(torch.uint8)
    scales = torch.rand(rows, width // group, generator=generator) - 0.5
    bound = random_shape(rng, rng.randint(0, 3), most=20, elements=200)
    dtype = (I32, I64)[seed // 2 % 2]

    g = GraphBuilder()
    indices = g.input(dtype, bound)
    weight = (g.constant(packed), g.constant(scales), group)
    out = (F32, (*bound, width))
    name = "et_vk.embedding_q4gsw.default"
    g.output(g.call(name, *weight, indices, is_linear, out=out))
    with g.load() as model:
        for shape in live_shapes(rng, bound, subset(rng, len(bound))):
            picked = torch.randint(0, rows, shape, generator=generator).to(dtype)
            expected = torch.ops.et_vk.embedding_q4gsw(packed, scales, group, picked, is_linear)
            check_outputs(model.run(picked), [expected], TIGHT, f"indices {shape} of {rows}")


def test_embedding_and_linear_share_their_weight() -> None:
    """Tied weights: the embedding reads the linear's packing, scales transposed."""
    packed, scales = random_weight(50, 64, 32, 1)
    g = GraphBuilder()
    indices = g.input(I64, (1, 9))
    weight = g.constant(packed)
    row_scales = g.constant(scales.t().contiguous())
    name = "et_vk.embedding_q4gsw.default"
    hidden = g.call(name, weight, row_scales, 32, indices, True, out=(F32, (1, 9, 64)))
    linear = (g.constant(packed), g.constant(scales), 32, None)
    g.output(g.call("et_vk.linear_q4gsw.default", hidden, *linear, out=(F32, (1, 9, 50))))
    table = unpacked(packed, True) * scales.t().repeat_interleave(32, 1)
    with g.load() as model:
        for count in (9, 1, 4):
            picked = torch.randint(0, 50, (1, count), generator=generator_for(count))
            expected = linear_reference(table[picked], packed, scales, 32)
            check_outputs(model.run(picked), [expected], SUMS, f"{count} tokens")
