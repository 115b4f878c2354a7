"""Products on matrix units: in f16 as close as rounding operands to f16 lets them be, linear layers
in f32 as close as any f32.

Adapters without matrix units compute in f32 all the same, which is checked here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.adapter import has_matrices
from support.attention import Reference, Shape, sdpa_model
from support.capi import Model
from support.cases import F16, F32, SUMS, Tolerance, check_outputs, generator_for, rng_for, seeds
from support.decoder import DecoderGraph, Sizes, logits, random_sizes, reference
from support.delegate import GraphBuilder
from support.options import option
from support.quantized import LONG_SUMS, linear_graph, random_weight, unpacked

# With ETWEBGPU_KERNELS=discrete,matrices: else layers are as large as is worth it.
FEWEST_ROWS = 5


@pytest.fixture
def products(request: pytest.FixtureRequest) -> Iterator[str]:
    with option("matmul_dtype", request.param):
        yield request.param


in_both = pytest.mark.parametrize("products", ["f16", "f32"], indirect=True)
in_f16 = pytest.mark.parametrize("products", ["f16"], indirect=True)
in_f32 = pytest.mark.parametrize("products", ["f32"], indirect=True)


def rounded(t: torch.Tensor, rows: int, products: str) -> torch.Tensor:
    """What the kernel for so many rows makes of an operand."""
    halves = products == "f16" and has_matrices() and rows >= FEWEST_ROWS
    return t.half().double() if halves else t.double()


def check_kernel(model: Model, rows: int) -> None:
    kernels = " ".join(dispatch["kernel"] for dispatch in model.profile()["dispatches"])
    assert ("gemm_matrices" in kernels) == (has_matrices() and rows >= FEWEST_ROWS)


@in_both
@pytest.mark.parametrize("seed", seeds(20))
def test_linear_q4gsw(seed: int, products: str) -> None:
    rng = rng_for("matrices", seed)
    group = (32, 64, 8, 16)[seed % 4]
    k = group * rng.choice((1, 2, 3, 5))
    n = rng.choice((1, 7, 33, 64, 65, 200))
    packed, scales = random_weight(n, k, group, seed)
    weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(group, 1)
    bias = torch.randn(n, generator=generator_for(seed)) if seed % 3 == 0 else None
    live = [300, 1, rng.randint(2, 300), 16, 17, 63, 64, 65, 129]
    rng.shuffle(live)
    with linear_graph((1, 300, k), packed, scales, group, bias).load() as model:
        for rows in live:
            x = torch.randn(1, rows, k, generator=generator_for(seed, rows))
            expected = rounded(x, rows, products) @ rounded(weight, rows, products).t()
            if bias is not None:
                expected = expected + bias
            where = f"[{rows}, {k}] x [{n}] in groups of {group}"
            check_outputs(model.run(x), [expected.float()], LONG_SUMS, where)
            check_kernel(model, rows)


@in_both
@pytest.mark.parametrize("stored", [torch.int8, F16])
@pytest.mark.parametrize("k", [32, 44, 100])
def test_other_weights(stored: torch.dtype, k: int, products: str) -> None:
    """Bytes with a scale for each row; halves; and a K that ends within a chunk."""
    generator = generator_for("other weights", k)
    g = GraphBuilder()
    x = g.input(F32 if stored == torch.int8 else F16, (90, k))
    if stored == torch.int8:
        values = torch.randint(-127, 128, (70, k), generator=generator).to(torch.int8)
        scales = torch.rand(70, generator=generator) / 50
        call: tuple[Any, ...] = (
            "aten._weight_int8pack_mm.default",
            x,
            *map(g.constant, (values, scales)),
        )
        weight = values.float() * scales[:, None]
    else:
        weight = torch.randn(70, k, generator=generator).half()
        call = ("aten.linear.default", x, g.prepack(weight), None)
    dtype = F32 if stored == torch.int8 else F16
    g.output(g.call(*call, out=(dtype, (90, 70))))
    with g.load() as model:
        for rows in (90, 1, 17, 40):
            given = torch.randn(rows, k, generator=generator).to(dtype)
            expected = rounded(given, rows, products) @ rounded(weight, rows, products).t()
            close = SUMS if dtype == F32 else Tolerance(1e-3, 1e-3)
            check_outputs(model.run(given), [expected.to(dtype)], close, f"{rows} rows of {k}")
            check_kernel(model, rows)


# K so long that workgroups share a tile along it; tiles so many that none do, and sums in sections.
@in_both
@pytest.mark.parametrize("rows, n, k", [(70, 130, 2080), (40, 64, 1024), (2100, 2000, 96)])
def test_shared_and_many_tiles(rows: int, n: int, k: int, products: str) -> None:
    generator = generator_for("tiles", rows, n, k)
    packed, scales = random_weight(n, k, 32, k)
    weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(32, 1)
    bias = torch.randn(n, generator=generator)
    with linear_graph((rows, k), packed, scales, 32, bias).load() as model:
        for live in (rows, 33):
            x = torch.randn(live, k, generator=generator)
            expected = rounded(x, live, products) @ rounded(weight, live, products).t() + bias
            check_outputs(model.run(x), [expected.float()], LONG_SUMS, f"{live} rows")
            check_kernel(model, live)


@in_f16
@pytest.mark.usefixtures("products")
def test_large_numbers_stay_finite() -> None:
    packed, scales = random_weight(8, 32, 32, 0)
    with linear_graph((20, 32), packed, scales, 32, None).load() as model:
        (out,) = model.run(torch.full((20, 32), 1e6))
        assert out.isfinite().all()
        weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(32, 1)
        expected = F.linear(torch.full((20, 32), 65504.0 if has_matrices() else 1e6), weight)
        check_outputs([out], [expected], Tolerance(1e-3, 1e4))


@in_f32
@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("stored", [4, 8])
def test_numbers_past_the_range_of_f16(stored: int) -> None:
    """Rows and columns of any magnitude, and elements far smaller than their row's largest; a
    column of zeros whose magnitude, with some rows', is past the range of f32."""
    generator = generator_for("past f16", stored)
    rows, n, k = 40, 70, 192
    column = 10.0 ** torch.linspace(-17, 6, n)
    column[7] = 1e36
    if stored == 4:
        packed, scales = random_weight(n, k, 32, 1)
        packed[7] = 0x88  # zeros
        scales = scales * column
        weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(32, 1)
        graph = linear_graph((rows, k), packed, scales, 32, None)
    else:
        values = torch.randint(-127, 128, (n, k), generator=generator).to(torch.int8)
        values[7] = 0
        weight = values.float() * column[:, None]
        graph = GraphBuilder()
        x_value = graph.input(F32, (rows, k))
        constants = map(graph.constant, (values, column))
        graph.output(
            graph.call(
                "aten._weight_int8pack_mm.default", x_value, *constants, out=(F32, (rows, n))
            )
        )
    x = torch.randn(rows, k, generator=generator) * 10.0 ** torch.linspace(-18, 25, rows)[:, None]
    x[:, ::3] *= 1e-6
    x[5] = 0
    with graph.load() as model:
        (got,) = model.run(x)
    expected = x.double() @ weight.double().t()
    magnitude = x.double().abs() @ weight.double().abs().t()
    error = ((got.double() - expected).abs() / magnitude.clamp(min=1e-300)).max().item()
    assert error < 2e-6


@in_f32
@pytest.mark.usefixtures("products")
def test_single_weights_of_4_bits() -> None:
    """Alone, where errors do not cancel: a scale has 19 bits."""
    packed, scales = random_weight(256, 64, 32, 1)
    weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(32, 1)
    with linear_graph((64, 64), packed, scales, 32, None).load() as model:
        (got,) = model.run(torch.eye(64))
        check_kernel(model, 64)
    assert ((got - weight.t()).abs() <= 2.0**-18.5 * weight.t().abs()).all()


def halves(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Numbers that f16 holds, so that only what is computed from them is rounded."""
    return torch.randn(shape, generator=generator).half().float()


# Weights of values are rounded to f16, and add up to 1.
ROUNDED_WEIGHTS = Tolerance(1e-3, 1e-3)


@in_f16
@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("head_dim", [32, 64, 96, 40])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (8, 1)])
def test_attention_over_a_cache(heads: tuple[int, int], head_dim: int) -> None:
    shape = Shape(*heads, head_dim, capacity=200, tokens=90)
    generator = generator_for("matrices of attention", heads, head_dim)
    reference = Reference(shape)
    with sdpa_model(shape, scale=0.125) as model:
        for position, tokens in ((0, 90), (90, 5), (95, 1), (96, 70), (40, 33), (110, 90)):
            q = halves(generator, *shape.q(tokens))
            k, v = (halves(generator, *shape.kv(tokens)) for _ in range(2))
            (got,) = model.run(torch.tensor([position]), q, k, v)
            reference.write(k, v, position)
            expected = reference.attend(q, position, causal=True, scale=0.125)
            where = f"{shape}, {tokens} tokens at {position}"
            check_outputs([got], [expected], ROUNDED_WEIGHTS, where)
            kernels = " ".join(dispatch["kernel"] for dispatch in model.profile()["dispatches"])
            taken = has_matrices() and tokens > 4 and head_dim % 32 == 0
            assert ("attention_matrices" in kernels) == taken


@in_f16
@pytest.mark.usefixtures("products")
def test_attention_to_ever_larger_scores() -> None:
    """Rows whose maximum grows with the keys, slowly and in steps, and rows where it does not."""
    shape = Shape(4, 2, 64, capacity=400, tokens=300)
    generator = generator_for("growing scores")
    reference = Reference(shape)
    q = halves(generator, *shape.q(300))
    k, v = (halves(generator, *shape.kv(300)) for _ in range(2))
    growth = torch.linspace(0, 4, 300) + 3 * (torch.arange(300) // 100)
    k = (k * growth[None, :, None, None]).half().float()
    with sdpa_model(shape, scale=0.25) as model:
        (got,) = model.run(torch.tensor([0]), q, k, v)
    reference.write(k, v, 0)
    expected = reference.attend(q, 0, causal=True, scale=0.25)
    check_outputs([got], [expected], ROUNDED_WEIGHTS, f"{shape}")


@in_f16
@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("keys", [1, 31, 64, 100])
def test_attention_with_a_mask(keys: int) -> None:
    """Some queries see little; one sees nothing, which is NaN as from torch's softmax."""
    generator = generator_for("masked matrices", keys)
    g = GraphBuilder()
    q, k, v = (g.input(F32, (2, 3, n, 32)) for n in (50, keys, keys))
    mask = g.input(F32, (50, keys))
    out = g.call("et_vk.sdpa.default", q, k, v, mask, 0.25, out=(F32, (2, 3, 50, 32)))
    g.output(out)
    inputs = [halves(generator, 2, 3, n, 32) for n in (50, keys, keys)]
    hidden = torch.rand(50, keys, generator=generator) < 0.4
    hidden[7] = True
    given = torch.randn(50, keys, generator=generator).masked_fill(hidden, float("-inf"))
    with g.load() as model:
        got = model.run(*inputs, given)
    scores = inputs[0] @ inputs[1].transpose(2, 3) * 0.25 + given
    expected = scores.softmax(-1) @ inputs[2]
    check_outputs(got, [expected], ROUNDED_WEIGHTS, f"{keys} keys")


@in_both
@pytest.mark.parametrize("seed", seeds(10))
def test_decoder(seed: int, products: str) -> None:
    """Norms, stacked projections, gates and residuals around the products."""
    rng = rng_for("matrices of a decoder", seed)
    sizes: Sizes = random_sizes(rng, seed)
    graph = DecoderGraph(sizes)
    fed = [rng.randrange(sizes.vocabulary) for _ in range(sizes.most)]
    with graph.build().load() as model, torch.no_grad():
        got = model.run(torch.tensor([fed]), torch.tensor([0]))
        hidden = reference(sizes, graph.weights.made, torch.tensor(fed))
        expected = [logits(sizes, graph.weights.made, hidden[-1:])]
        if sizes.hidden_is_output:
            expected.insert(0, hidden[None])
        close = Tolerance(1e-2, 1e-2) if products == "f16" else LONG_SUMS
        check_outputs(got, expected, close, f"{sizes}")
