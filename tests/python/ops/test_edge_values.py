"""Zeros, infinities, NaN, the largest and the smallest numbers, in every operator of floats.

What counts as right is said in support/edges.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import pytest
import torch
import torch.nn.functional as F
from support.cases import (
    EXACT,
    F32,
    I32,
    Tolerance,
    check_output,
    check_outputs,
    generator_for,
)
from support.delegate import GraphBuilder
from support.edges import EDGES, INFINITY, LARGEST, NAN, SMALLEST, check_edges, special_rows
from support.functions import BINARY, REDUCTIONS, SCALAR_COMPARISONS, SOFTMAX, UNARY

Function = Callable[..., torch.Tensor]

# Every pair of edges: a down, b along.
A, B = (t.contiguous() for t in torch.broadcast_tensors(EDGES[:, None], EDGES[None, :]))

CLOSE = 4e-6  # what exp, of numbers up to 88, may be off

# --- One operand ---------------------------------------------------------------------------------

# More than the table has, and what has no range there.
MORE_UNARY: dict[str, tuple[Function, list[Any]]] = {
    "aten.logical_not.default": (torch.logical_not, []),
    "aten.silu.default": (F.silu, []),
    "aten.leaky_relu.default flat": (lambda x: F.leaky_relu(x, 0.0), [0.0]),
    "aten.clamp.default all": (lambda x: x.clamp(-INFINITY, INFINITY), [-INFINITY, INFINITY]),
    "aten.clamp.default crossed": (lambda x: x.clamp(1.0, -1.0), [1.0, -1.0]),
    "aten.clamp.default from NaN": (lambda x: x.clamp(NAN, 1.0), [NAN, 1.0]),
    "aten.clamp.default to NaN": (lambda x: x.clamp(max=NAN), [None, NAN]),
    "aten.hardtanh.default zero": (lambda x: F.hardtanh(x, 0.0, 6.0), [0.0, 6.0]),
}
ALL_UNARY = {name: (row[0], row[3]) for name, row in UNARY.items() if "pow" not in name}
ALL_UNARY |= MORE_UNARY

ALSO: dict[str, list[Function]] = {
    # Eager's own of +inf is NaN where the processor has AVX-512, through oneDNN.
    "aten.gelu.default": [lambda x: x * torch.special.ndtr(x)],
    # Eager multiplies and adds at once where it can; a product apart may overflow.
    "aten.add.Tensor alpha": [lambda a, b: a + -3 * b],
    "aten.sub.Tensor alpha": [lambda a, b: a - 2 * b],
}
CHOICES = ("minimum", "maximum", "clamp", "hardtanh")  # of one of two numbers, by their order


@pytest.mark.parametrize("name", ALL_UNARY)
def test_unary(name: str) -> None:
    function, extra = ALL_UNARY[name]
    (got,) = _run(name.split()[0], [EDGES], function(EDGES), extra)
    # The tails of gelu are differences.
    absolute = 1e-6 if "gelu" in name else 0.0
    check_edges(
        got,
        function,
        [EDGES],
        relative=CLOSE,
        absolute=absolute,
        also=ALSO.get(name, []),
        signed_zeros=not any(choice in name for choice in CHOICES),
        where=name,
    )


def test_rounding_is_to_even() -> None:
    halves = torch.arange(-20, 21) / 2
    (got,) = _run("aten.round.default", [halves], halves, [])
    check_edges(got, torch.round, [halves], relative=0, where="round")


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_arguments_of_any_size(name: str) -> None:
    """Also next to multiples of pi / 2, and the float that is nearest to one of all."""
    generator = generator_for(name)
    exponents = torch.rand(4000, generator=generator) * 140 - 12
    signs = torch.where(torch.rand(4000, generator=generator) < 0.5, -1.0, 1.0)
    near = torch.arange(1, 3000) * (math.pi / 2)
    worst = 16367173.0 * 2.0**72
    x = torch.cat([signs * torch.exp2(exponents), near, -near, torch.tensor([worst, -worst])])
    (got,) = _run(f"aten.{name}.default", [x], x, [])
    exact = getattr(torch, name)
    check_edges(got, lambda x: exact(x.double()).float(), [x], relative=1e-6, where=name)


# --- Two operands --------------------------------------------------------------------------------

ALL_BINARY: dict[str, tuple[Function, list[Any]]] = {
    **{name: row[:2] for name, row in BINARY.items() if "bitwise" not in name},
    "aten.maximum.default": (torch.maximum, []),
    "aten.ne.Tensor": (torch.ne, []),
}
# A product on the way may be subnormal, and then zero.
SUMS_OF_PRODUCTS = {"aten.add.Tensor alpha", "aten.add.Tensor float", "aten.sub.Tensor alpha"}


@pytest.mark.parametrize("name", ALL_BINARY)
def test_binary(name: str) -> None:
    function, extra = ALL_BINARY[name]
    (got,) = _run(name.split()[0], [EDGES[:, None], EDGES[None, :]], function(A, B), extra)
    absolute = 2 * SMALLEST if name in SUMS_OF_PRODUCTS else 0.0
    relative = CLOSE if "div" in name or "pow" in name else 0.0
    check_edges(
        got,
        function,
        [A, B],
        relative=relative,
        absolute=absolute,
        also=ALSO.get(name, []),
        signed_zeros=not any(choice in name for choice in CHOICES),
        where=name,
    )


@pytest.mark.parametrize("name", SCALAR_COMPARISONS)
def test_comparison_with_a_number(name: str) -> None:
    for number in (0.0, 1.0, LARGEST, INFINITY, -INFINITY, NAN):
        (got,) = _run(name, [EDGES], SCALAR_COMPARISONS[name](EDGES, number), [number])
        check_edges(
            got,
            lambda x, number=number: SCALAR_COMPARISONS[name](x, number),
            [EDGES],
            relative=0,
            where=f"{name} {number}",
        )


def test_where() -> None:
    condition = torch.arange(A.numel()).reshape(A.shape) % 3 == 0
    (got,) = _run("aten.where.self", [condition, EDGES[:, None], EDGES[None, :]], A, [])
    check_edges(got, lambda a, b: torch.where(condition, a, b), [A, B], relative=0, where="where")


# Those with a form of their own, and others.
EXPONENTS = [-2, -1, -0.5, 0.5, 1, 2, 3, 4]
EXPONENTS += [0, -3, 5, 1 / 3, -1.5, 2.5, 127, -127, 257, 1e10, -1e10]
EXPONENTS += [LARGEST, INFINITY, -INFINITY, NAN]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_power_of_a_number(exponent: float) -> None:
    (got,) = _run("aten.pow.Tensor_Scalar", [EDGES], EDGES, [exponent])
    check_edges(
        got,
        lambda x: torch.pow(x, exponent),
        [EDGES],
        relative=CLOSE,
        where=f"pow of {exponent}",
    )


def test_power_of_a_live_number() -> None:
    g = GraphBuilder()
    x, n = g.input(F32, EDGES.shape), g.symint_input()
    g.output(g.call("aten.pow.Tensor_Scalar", x, n, out=(F32, EDGES.shape)))
    with g.load() as model:
        for exponent in (2, -1, 0, 1, 3, -3, 1001, 2**30, -(2**31)):
            (got,) = model.run(EDGES, exponent)
            check_edges(
                got,
                lambda x, exponent=exponent: torch.pow(x, float(exponent)),
                [EDGES],
                relative=CLOSE,
                where=f"pow of a live {exponent}",
            )


def test_powers_are_exact_to_a_bit_or_two() -> None:
    """Bases next to 1 with large exponents, and results all over the range."""
    generator = generator_for("powers")
    near = 1 + torch.randn(3000, generator=generator) * 2.0 ** -(
        torch.rand(3000, generator=generator) * 20 + 3
    )
    far = torch.exp2(torch.rand(3000, generator=generator) * 250 - 125)
    base = torch.cat([near, far])
    most = 120 / base.double().log2().abs().clamp(min=1e-7)
    exponent = ((torch.rand(6000, generator=generator) * 2 - 1) * most).float()
    (got,) = _run("aten.pow.Tensor_Tensor", [base, exponent], base, [])
    check_edges(
        got,
        lambda a, b: torch.pow(a.double(), b.double()).float(),
        [base, exponent],
        relative=6e-7,
        where="pow",
    )


# --- Rows ----------------------------------------------------------------------------------------


WIDTHS = (5, 16, 70, 300)


@pytest.mark.parametrize("along", ["rows", "columns"])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax(name: str, along: str) -> None:
    for n in WIDTHS:
        x = special_rows(n)
        # Few rows and many take different kernels.
        for part in (x, x[15:22].contiguous()):
            dim = -1 if along == "rows" else 0
            given = part if along == "rows" else part.t().contiguous()
            (got,) = _run(name, [given], given, [dim, False])
            _check_rows(got, SOFTMAX[name](given, dim), f"{name} of {n} {along}")


@pytest.mark.parametrize("along", ["rows", "columns"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, along: str) -> None:
    extra = [] if "am" in name else [None]
    for n in WIDTHS:
        x = special_rows(n)
        for part in (x, x[:9].contiguous()):
            dim = -1 if along == "rows" else 0
            given = part if along == "rows" else part.t().contiguous()
            expected = REDUCTIONS[name](given, [dim], True)
            (got,) = _run(name, [given], expected, [[dim], True, *extra])
            _check_rows(got, expected, f"{name} of {n} {along}")


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_position_of_extreme(name: str) -> None:
    function = getattr(torch, name)
    for n in WIDTHS:
        x = special_rows(n)
        for part in (x, x[:9].contiguous()):
            expected = function(part, -1, keepdim=True)
            (got,) = _run(f"aten.{name}.default", [part], expected.to(I32), [-1, True])
            check_outputs([got], [expected.to(I32)], EXACT, f"{name} of {n}")


def normalized(x: torch.Tensor, dims: list[int]) -> torch.Tensor:
    """In doubles, with a variance that f32 does not hold as an infinite one."""
    d = x.double()
    variance = d.var(dims, correction=0, keepdim=True)
    variance = torch.where(variance > LARGEST, INFINITY, variance)
    return ((d - d.mean(dims, keepdim=True)) * (variance + 1e-5).rsqrt()).float()


@pytest.mark.parametrize("n", [8, 70, 300])
def test_norms(n: int) -> None:
    x = special_rows(n)
    rows, half = len(x), n // 2
    generator = generator_for("norms", n)
    weight, bias = (torch.randn(n, generator=generator) for _ in range(2))
    (got,) = _run_with("et_vk.rms_norm.default", x, lambda g, v: (v, g.constant(weight), 1e-5), [x])
    _check_rows(got, torch.ops.et_vk.rms_norm(x, weight, 1e-5), f"rms_norm of {n}")

    expected = torch.native_layer_norm(x, [n], weight, bias, 1e-5)
    got = _run_with(
        "aten.native_layer_norm.default",
        x,
        lambda g, v: (v, [n], g.constant(weight), g.constant(bias), 1e-5),
        list(expected),
    )[0]
    _check_norm(got, expected[0], normalized(x, [1]) * weight + bias, f"layer norm of {n}")

    y = x.reshape(rows, 2, half)
    gain, shift = weight[:2].clone(), bias[:2].clone()
    for groups in (1, 2):
        sizes = (rows, 2, half, groups, 1e-5)
        expected = torch.native_group_norm(y, gain, shift, *sizes)
        got = _run_with(
            "aten.native_group_norm.default",
            y,
            lambda g, v, sizes=sizes: (v, g.constant(gain), g.constant(shift), *sizes),
            list(expected),
        )[0]
        exact = normalized(y, [2] if groups == 2 else [1, 2]) * gain[:, None] + shift[:, None]
        _check_norm(got, expected[0], exact, f"group norm of {n} in {groups}")


def test_batch_norm() -> None:
    x = special_rows(70).reshape(-1, 5).contiguous()
    mean = torch.tensor([0.0, 1.0, 0.5, 0.0, -2.0])
    variance = torch.tensor([1.0, 0.0, INFINITY, NAN, LARGEST])
    weight, bias = (torch.randn(5, generator=generator_for("batch norm")) for _ in range(2))
    empty = torch.empty(0)
    expected = F.batch_norm(x, mean, variance, weight, bias, False, 0.1, 1e-5)
    got = _run_with(
        "aten._native_batch_norm_legit_no_training.default",
        x,
        lambda g, v: (v, *map(g.constant, (weight, bias, mean, variance)), 0.1, 1e-5),
        [expected, empty, empty],
    )[0]
    exact = (x.double() - mean) * (variance.double() + 1e-5).rsqrt() * weight + bias
    _check_norm(got, expected, exact.float(), "batch norm")


# --- How these run and compare -------------------------------------------------------------------


def _run(
    name: str, inputs: list[torch.Tensor], out: torch.Tensor, extra: list[Any]
) -> list[torch.Tensor]:
    """One call of these tensors and arguments; `out` has its output's dtype and sizes."""
    g = GraphBuilder()
    values = [g.input(t.dtype, t.shape) for t in inputs]
    g.output(g.call(name, *values, *extra, out=(out.dtype, out.shape)))
    with g.load() as model:
        return model.run(*inputs)


def _run_with(
    name: str, x: torch.Tensor, args: Callable[..., Any], outs: list[torch.Tensor]
) -> list[torch.Tensor]:
    """One call of one tensor and constants."""
    g = GraphBuilder()
    specs = [(t.dtype, t.shape) for t in outs]
    value = g.input(x.dtype, x.shape)
    result = g.call(name, *args(g, value), out=specs if len(specs) > 1 else specs[0])
    g.output(*(result if len(specs) > 1 else [result]))
    with g.load() as model:
        return model.run(x)


ROWS = Tolerance(2e-5, 1e-6)


def _check_rows(got: torch.Tensor, expected: torch.Tensor, where: str) -> None:
    check_output(got, [expected], ROWS, where)


def _check_norm(got: torch.Tensor, expected: torch.Tensor, exact: torch.Tensor, where: str) -> None:
    """Eager's, or, where its running sums overflow or cancel on the way, that of exact ones."""
    check_output(got, [expected, torch.where(exact.isnan(), expected, exact)], ROWS, where)
