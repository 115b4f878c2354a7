"""What training steps are made of: gradients of linear layers, cross entropy, AdamW, and weights
back into 4 bits."""

from __future__ import annotations

import math

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import pytest
import torch
from support.capi import ModelError
from support.cases import (
    EXACT,
    F16,
    F32,
    I32,
    I64,
    NORMAL,
    SUMS,
    Arg,
    Shape,
    Tolerance,
    check_op,
    check_outputs,
    generator_for,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder, Value
from support.quantized import LONG_SUMS, random_weight, unpacked

U8 = torch.uint8

# --- linear_dW ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(50))
def test_gradient_of_a_weight(seed: int) -> None:
    """Any rank of rows, and any number of them; odd widths."""
    rng = rng_for("linear_dW", seed)
    lead = random_shape(rng, rng.randint(0, 3), most=12, elements=150)
    n, k = (rng.choice((1, 3, 8, 33, 64, 100)) for _ in range(2))
    dtype = F16 if seed % 7 == 6 else F32
    shapes = live_shapes(rng, lead, [d for d in range(len(lead)) if d < 2], least=0)
    check_op(
        "et_vk.linear_dW.default",
        [Arg((*lead, n), dtype), Arg((*lead, k), dtype)],
        torch.ops.et_vk.linear_dW,
        live=[[(*s, n), (*s, k)] for s in shapes],
        tolerance=Tolerance(5e-5, 2e-4),
        key=seed,
    )


def test_gradient_of_other_rows_is_refused() -> None:
    g = GraphBuilder()
    args = g.input(F32, (5, 3)), g.input(F32, (4, 2))
    g.output(g.call("et_vk.linear_dW.default", *args, out=(F32, (3, 2))))
    with pytest.raises(ModelError, match=r"\[5, 3\] and x of sizes \[4, 2\] do not have the same"):
        g.load()


# --- linear_q4gsw_backward ----------------------------------------------------------------------


def backward_graph(
    bound: Shape, packed: torch.Tensor, scales: torch.Tensor, group: int, k: int | None = None
) -> GraphBuilder:
    g = GraphBuilder()
    d_out = g.input(F32, bound)
    out = (F32, (*bound[:-1], k or 2 * packed.shape[1]))
    weight = (g.constant(packed), g.constant(scales), group)
    g.output(g.call("et_vk.linear_q4gsw_backward.default", d_out, *weight, out=out))
    return g


@pytest.mark.parametrize("seed", seeds(50))
def test_way_back_through_4_bit_weights(seed: int) -> None:
    rng = rng_for("linear_q4gsw_backward", seed)
    group = (32, 64, 16, 8, 128)[seed % 5]
    k, n = group * rng.choice((1, 2, 3)), rng.choice((1, 2, 8, 33, 64, 65, 130))
    lead = random_shape(rng, rng.randint(1, 3), most=12, elements=80)
    packed, scales = random_weight(n, k, group, seed)
    with backward_graph((*lead, n), packed, scales, group).load() as model:
        for step, shape in enumerate(live_shapes(rng, lead, range(len(lead)), 4, least=0)):
            d_out = torch.randn(*shape, n, generator=generator_for(seed, step))
            weight = unpacked(packed, True) * scales.t().repeat_interleave(group, 1)
            expected = (d_out.double() @ weight.double()).float()
            check_outputs(model.run(d_out), [expected], LONG_SUMS, f"{shape} x [{n}, {k}]")


def test_way_back_as_the_reference_has_it() -> None:
    packed, scales = random_weight(40, 64, 32, 0)
    with backward_graph((9, 40), packed, scales, 32).load() as model:
        d_out = torch.randn(9, 40, generator=generator_for("backward"))
        expected = torch.ops.et_vk.linear_q4gsw_backward(d_out, packed, scales, 32)
        check_outputs(model.run(d_out), [expected], SUMS)


@pytest.mark.parametrize(
    ("bound", "group", "says"),
    [
        ((3, 8), 0, "the group size 0 does not divide the 64"),
        ((3, 8), 48, "the group size 48 does not divide the 64"),
        ((3, 8), 16, r"scales of sizes \[2, 8\] do not hold 4 groups of 8"),
        ((3, 9), 32, r"weight of sizes \[8, 32\] does not hold 9 rows"),
    ],
)
def test_weights_that_do_not_fit_are_refused(bound: Shape, group: int, says: str) -> None:
    packed, scales = random_weight(8, 64, 32, 0)
    with pytest.raises(ModelError, match=says):
        backward_graph(bound, packed, scales, group).load()


def test_weights_that_change_are_refused() -> None:
    scales = torch.ones(2, 8)
    g = GraphBuilder()
    weight = (g.input(U8, (8, 32)), g.constant(scales), 32)
    name = "et_vk.linear_q4gsw_backward.default"
    g.output(g.call(name, g.input(F32, (3, 8)), *weight, out=(F32, (3, 64))))
    with pytest.raises(ModelError, match="must be a constant that no call writes"):
        g.load()


# --- fused_ce -----------------------------------------------------------------------------------


def entropy_graph(rows: int, classes: int, valid: float, dtype: torch.dtype = I64) -> GraphBuilder:
    g = GraphBuilder()
    args = g.input(F32, (rows, classes)), g.input(dtype, (rows,)), valid
    g.output(*g.call("et_vk.fused_ce.default", *args, out=[(F32, ()), (F32, (rows, classes))]))
    return g


@pytest.mark.parametrize("seed", seeds(50))
def test_cross_entropy(seed: int) -> None:
    """Rows that do not count among them, as -1, -100 or any other negative label."""
    rng = rng_for("fused_ce", seed)
    rows, classes = rng.choice((1, 2, 9, 40)), rng.choice((1, 2, 10, 33, 257, 1000))
    valid = rng.choice((1.0, float(rows), 0.5, 7.0))
    spread = rng.choice((1.0, 30.0, 200.0))
    generator = generator_for("fused_ce", seed)
    with entropy_graph(rows, classes, valid, (I64, I32)[seed % 2]).load() as model:
        for m in (rows, rng.randint(0, rows), rows):
            logits = torch.randn(m, classes, generator=generator) * spread
            labels = torch.randint(0, classes, (m,), generator=generator)
            skipped = torch.rand(m, generator=generator) < 0.3
            labels = torch.where(skipped, torch.tensor(rng.choice((-1, -100))), labels)
            labels = labels.to((I64, I32)[seed % 2])
            expected = torch.ops.et_vk.fused_ce(logits, labels, valid)
            close = Tolerance(1e-5, 1e-6 * spread / min(valid, 1.0))
            check_outputs(model.run(logits, labels), list(expected), close, f"{m} x {classes}")


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("label", [0, 1, 3, -1])
@pytest.mark.parametrize(
    "row",
    [
        [1.0, NAN, 2.0, 3.0],
        [1.0, INF, 2.0, 3.0],
        [INF, INF, -INF, 3.0],
        [-INF, -INF, -INF, -INF],
        [-INF, 1.0, -INF, 2.0],
        [INF, NAN, -INF, 0.0],
        [3e38, -3e38, 3e38, 0.0],
        [200.0, 100.0, -100.0, -200.0],
    ],
)
def test_cross_entropy_of_what_is_no_number(row: list[float], label: int) -> None:
    logits = torch.tensor([[0.5, 0.25, 0.0, 1.0], row])
    labels = torch.tensor([2, label])
    expected = torch.ops.et_vk.fused_ce(logits, labels, 2.0)
    with entropy_graph(2, 4, 2.0).load() as model:
        check_outputs(model.run(logits, labels), list(expected), NORMAL)


def test_a_label_past_the_classes_makes_nan() -> None:
    loss, gradient = torch.ops.et_vk.fused_ce(torch.zeros(3, 4), torch.tensor([0, 0, 1]), 1.0)
    loss.fill_(NAN)
    gradient[1] = NAN
    with entropy_graph(3, 4, 1.0).load() as model:
        for label in (4, 1 << 30):
            got = model.run(torch.zeros(3, 4), torch.tensor([0, label, 1]))
            check_outputs(got, [loss, gradient], NORMAL)


def test_no_valid_row_at_all() -> None:
    """The exporter's program divides by what it is given, 0 too."""
    with entropy_graph(2, 3, 0.0).load() as model:
        for labels in (torch.tensor([-1, -1]), torch.tensor([1, -1])):
            logits = torch.randn(2, 3, generator=generator_for("valid"))
            expected = torch.ops.et_vk.fused_ce(logits, labels, 0.0)
            check_outputs(model.run(logits, labels), list(expected), NORMAL)


def test_cross_entropy_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match=r"logits of sizes \[2, 0\] have no classes"):
        entropy_graph(2, 0, 1.0).load()
    with pytest.raises(ModelError, match="labels of type float32"):
        entropy_graph(2, 3, 1.0, F32).load()
    g = GraphBuilder()
    args = g.input(F32, (2, 3)), g.input(I64, (3,)), 1.0
    g.output(*g.call("et_vk.fused_ce.default", *args, out=[(F32, ()), (F32, (2, 3))]))
    with pytest.raises(ModelError, match=r"labels of sizes \[3\] do not fit logits of .*\[2, 3\]"):
        g.load()


# --- adamw_step ---------------------------------------------------------------------------------

# rate, beta1, beta2, eps, decay, and what corrects the moments of a first and a later step
HYPER = [
    (1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001),
    (1e-2, 0.9, 0.999, 1e-8, 0.0, 0.6513215599, 0.00995511979),
    (0.5, 0.5, 0.75, 1e-3, 0.25, 1.0, 1.0),
    (1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0),
]
STEP = Tolerance(1e-5, 1e-6)


def moments(shape: Shape, seed: object) -> list[torch.Tensor]:
    generator = generator_for("adamw", seed)
    weight, m, gradient = (torch.randn(shape, generator=generator) for _ in range(3))
    return [weight, m * 0.1, torch.rand(shape, generator=generator) * 0.01, gradient]


@pytest.mark.parametrize("name", ["et_vk.adamw_step.default", "adamw_step.default"])
@pytest.mark.parametrize("seed", seeds(50))
def test_adamw_on_inputs(seed: int, name: str) -> None:
    """Fed back by the host: what is returned, and the arguments that are written, are the same."""
    rng = rng_for("adamw", seed)
    shape = random_shape(rng, rng.randint(0, 4), most=20, elements=3000)
    hyper = HYPER[seed % len(HYPER)]
    g = GraphBuilder()
    values = [g.input(F32, shape) for _ in range(4)]
    returned = g.call(name, *values, *hyper, out=[(F32, shape)] * 3)
    g.output(*(returned if seed % 2 else values[:3]))
    weight, m, v, _ = moments(shape, seed)
    with g.load() as model:
        for step in range(3):
            gradient = moments(shape, (seed, step))[3]
            expected = [t.clone() for t in (weight, m, v)]
            torch.ops.et_vk.adamw_step(*expected, gradient, *hyper)
            got = model.run(weight, m, v, gradient)
            check_outputs(got, expected, STEP, f"step {step}")
            weight, m, v = got


@pytest.mark.parametrize("shape", [(), (1,), (5,), (64,), (7, 33), (0, 3)])
def test_adamw_on_states(shape: Shape) -> None:
    """Buffers of the delegate, whose first contents are equal and lie in one constant."""
    g = GraphBuilder()
    weight = torch.randn(shape, generator=generator_for("states"))
    start = [weight, torch.zeros(shape), torch.zeros(shape)]
    states = [g.constant(t) for t in start]
    gradient = g.input(F32, shape)
    g.call("adamw_step.default", *states, gradient, *HYPER[1], out=[(F32, shape)] * 3)
    g.output(g.call("aten.mul.Tensor", states[0], 2.0, out=(F32, shape)))
    expected = [t.clone() for t in start]
    with g.load() as model:
        for step in range(6):
            slope = moments(shape, step)[3]
            torch.ops.et_vk.adamw_step(*expected, slope, *HYPER[1])
            check_outputs(model.run(slope), [2 * expected[0]], STEP, f"step {step}")


def test_adamw_whose_gradient_is_what_it_writes() -> None:
    g = GraphBuilder()
    values = [g.input(F32, (4, 3)) for _ in range(3)]
    slope = g.call("aten.view_copy.default", values[0], [4, 3], out=(F32, (4, 3)))
    g.output(*g.call("adamw_step.default", *values, slope, *HYPER[0], out=[(F32, (4, 3))] * 3))
    weight, m, v, _ = moments((4, 3), "own")
    expected = [t.clone() for t in (weight, m, v)]
    torch.ops.et_vk.adamw_step(*expected, weight, *HYPER[0])
    with g.load() as model:
        check_outputs(model.run(weight, m, v), expected, STEP)


def test_adamw_of_what_is_no_number() -> None:
    shape = (6,)
    g = GraphBuilder()
    values = [g.input(F32, shape) for _ in range(4)]
    g.output(*g.call("adamw_step.default", *values, *HYPER[0], out=[(F32, shape)] * 3))
    start = [torch.ones(shape), torch.zeros(shape), torch.zeros(shape)]
    slope = torch.tensor([NAN, INF, -INF, 0.0, 1e30, 1.0])
    expected = [t.clone() for t in start]
    torch.ops.et_vk.adamw_step(*expected, slope, *HYPER[0])
    with g.load() as model:
        check_outputs(model.run(*start, slope), expected, STEP)


def adamw_of(*values: str, sizes: Shape = (4,)) -> GraphBuilder:
    g = GraphBuilder()
    made: dict[str, Value] = {}
    for name in values:
        made.setdefault(name, g.input(F32, sizes if name == "gradient" else (4,)))
    args = [made[name] for name in values]
    g.output(*g.call("adamw_step.default", *args, *HYPER[0], out=[(F32, (4,))] * 3))
    return g


def test_adamw_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match="the parameter and m share memory, and both are written"):
        adamw_of("weight", "weight", "v", "gradient").load()
    with pytest.raises(ModelError, match=r"the gradient of sizes \[5\] does not fit .* \[4\]"):
        adamw_of("weight", "m", "v", "gradient", sizes=(5,)).load()


# --- q4gsw_requant ------------------------------------------------------------------------------


def requant_graph(n: int, k: int, group: int, scale_sizes: Shape) -> GraphBuilder:
    g = GraphBuilder()
    args = g.input(F32, (n, k)), g.input(F32, scale_sizes), group
    g.output(g.call("et_vk.q4gsw_requant.default", *args, out=(U8, (n, (k + 1) // 2))))
    return g


@pytest.mark.parametrize("seed", seeds(60))
def test_weights_back_into_4_bits(seed: int) -> None:
    """Every code, at ties too, which are even as in eager; groups and bytes that are half empty."""
    rng = rng_for("q4gsw_requant", seed)
    group = (32, 64, 8, 7, 3, 1 << 31)[seed % 6]
    n, k = rng.choice((1, 2, 5, 17)), rng.choice((1, 2, 31, 64, 129, 200))
    groups = (k + group - 1) // group
    generator = generator_for("q4gsw_requant", seed)
    with requant_graph(n, k, group, (groups, n)).load() as model:
        for rows in (n, rng.randint(0, n), n):
            scales = torch.rand(groups, rows, generator=generator) * 0.2 - 0.1
            scales[torch.rand(scales.shape, generator=generator) < 0.1] = 0.0
            full = scales.t()[:, torch.arange(k) // group]
            codes = torch.randint(-24, 24, (rows, k), generator=generator) / 2
            near = torch.randint(-2, 3, (rows, k), generator=generator)
            weight = codes * full * (1 + near * 2.0**-23)
            noise = torch.randn(rows, k, generator=generator) * 0.3
            weight = torch.where(torch.rand(rows, k, generator=generator) < 0.3, noise, weight)
            expected = torch.ops.et_vk.q4gsw_requant(weight, scales, group)
            check_outputs(model.run(weight, scales), [expected], EXACT, f"{rows} x {k}")


def test_4_bits_of_what_is_no_number() -> None:
    special = [NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38, 1e-30]
    weight = torch.tensor([special] * 6)
    scales = torch.tensor([[1.0, INF, NAN, 0.0, -2.0, 3e38]])
    with requant_graph(6, 8, 8, (1, 6)).load() as model:
        expected = torch.ops.et_vk.q4gsw_requant(weight, scales, 8)
        check_outputs(model.run(weight, scales), [expected], EXACT)


def test_codes_that_are_used_on_the_way() -> None:
    """Stored as words where what reads them takes no bytes."""
    g = GraphBuilder()
    args = g.input(F32, (5, 33)), g.input(F32, (3, 5)), 16
    packed = g.call("et_vk.q4gsw_requant.default", *args, out=(U8, (5, 17)))
    rows = g.input(I32, (2,))
    g.output(packed, g.call("aten.index_select.default", packed, 0, rows, out=(U8, (2, 17))))
    weight = torch.randn(5, 33, generator=generator_for("words"))
    scales = torch.rand(3, 5, generator=generator_for("scales")) * 0.3 + 0.05
    expected = torch.ops.et_vk.q4gsw_requant(weight, scales, 16)
    with g.load() as model:
        got = model.run(weight, scales, torch.tensor([3, 1], dtype=I32))
        check_outputs(got, [expected, expected[[3, 1]]], EXACT)


def test_codes_fit_the_linear_layer() -> None:
    """What comes out is what linear_q4gsw reads."""
    packed, scales = random_weight(9, 64, 32, 3)
    weight = unpacked(packed, True) * scales.t().repeat_interleave(32, 1)
    with requant_graph(9, 64, 32, (2, 9)).load() as model:
        check_outputs(model.run(weight, scales), [packed], EXACT)


@pytest.mark.parametrize(
    ("group", "scales", "says"),
    [
        (0, (2, 4), "the group size 0 is not positive"),
        (-32, (2, 4), "the group size -32 is not positive"),
        (16, (2, 4), r"scales of sizes \[2, 4\] do not fit a weight of sizes \[4, 64\] in groups"),
        (32, (2, 5), r"scales of sizes \[2, 5\] do not fit a weight of sizes \[4, 64\] in groups"),
    ],
)
def test_scales_that_do_not_fit_are_refused(group: int, scales: Shape, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        requant_graph(4, 64, group, scales).load()
