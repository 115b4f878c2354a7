"""Activations quantized and dequantized: by tensor, channel, row and block."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed
import torchao.quantization.quant_primitives
from support.capi import ModelError
from support.cases import (
    EXACT,
    F16,
    F32,
    I32,
    I64,
    TIGHT,
    Arg,
    Shape,
    check_op,
    check_outputs,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)
from support.delegate import GraphBuilder

Args = Callable[..., Sequence[Any]]

INTEGERS = (torch.int8, torch.uint8, I32)
RANGES = {torch.int8: (-128, 127), torch.uint8: (0, 255), I32: (-(2**20), 2**20)}
decomposed, torchao = torch.ops.quantized_decomposed, torch.ops.torchao


def quantized(name: str, x: torch.Tensor, *args: Any) -> torch.Tensor:
    result: torch.Tensor = getattr(decomposed, f"quantize_per_{name}")(x.float(), *args)
    return result


def dequantized(name: str, q: torch.Tensor, *args: Any, **out: Any) -> torch.Tensor:
    result: torch.Tensor = getattr(decomposed, f"dequantize_per_{name}")(q, *args, **out)
    return result


def parameters(shape: Shape, rng: random.Random, constant: bool) -> tuple[Arg, Arg]:
    """Scales, and zero points of any type."""
    zero_point = rng.choice((torch.int8, torch.uint8, I32, I64))
    low = 0 if zero_point == torch.uint8 else -20
    scale = Arg(shape, F32, 0.01, 0.3, constant)
    return scale, Arg(shape, zero_point, low, 20, constant)


def arguments_of(seed: int, rng: random.Random) -> tuple[Arg, Arg, torch.dtype]:
    """A float and an integer of the same sizes, and the integer's type."""
    dtype = INTEGERS[seed % 3]
    low, high = RANGES[dtype]
    shape = random_shape(rng, rng.randint(1, 4), elements=600)
    return Arg(shape, (F32, F16)[seed % 2], -30, 30), Arg(shape, dtype, low, high), dtype


def one_of(t: torch.Tensor) -> torch.Tensor:
    """As references of int8 take zero points: in their own type they would wrap."""
    return t if t.is_floating_point() else t.to(I64)


@pytest.mark.parametrize("seed", seeds(24))
def test_one_scale(seed: int) -> None:
    rng = rng_for("one scale", seed)
    x, q, dtype = arguments_of(seed, rng)
    scale, zero = rng.uniform(0.01, 0.3), rng.randint(0, 20)
    args = (scale, zero, *RANGES[dtype], dtype)
    live = [[s] for s in live_shapes(rng, x.bound, subset(rng, len(x.bound)), least=0)]
    written = (scale, zero, *RANGES[dtype], None)
    name = "quantized_decomposed.quantize_per_tensor.default"
    check_op(
        name,
        [x],
        lambda t: quantized("tensor", t, *args),
        args=lambda _, t: (t, *written),
        live=live,
        tolerance=EXACT,
        key=seed,
    )
    check_op(
        f"quantized_decomposed.de{name.split('.')[1]}.default",
        [q],
        lambda t: dequantized("tensor", t, *args),
        args=lambda _, t: (t, *written, None),
        live=live,
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(24))
@pytest.mark.parametrize("form", ["tensor", "channel", "token"])
def test_scales_in_tensors(form: str, seed: int) -> None:
    rng = rng_for(form, seed)
    x, q, dtype = arguments_of(seed, rng)
    rank = len(x.bound)
    axis = rng.randrange(-rank, rank)
    shapes: dict[str, Callable[[Shape], Shape]] = {
        "tensor": lambda _: (1,),
        "channel": lambda s: (s[axis],),
        "token": lambda s: (*s[:-1], 1),
    }
    sizes_of = shapes[form]
    axes = (axis,) if form == "channel" else ()
    scale, zero = parameters(sizes_of(x.bound), rng, constant=False)
    live = [
        [s, sizes_of(s), sizes_of(s)] for s in live_shapes(rng, x.bound, subset(rng, rank), least=0)
    ]
    name = f"per_{form}.{'tensor' if form == 'tensor' else 'default'}"

    def reference(direction: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        more = (F32,) if form == "token" and direction is dequantized else ()

        def run(t: torch.Tensor, s: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return direction(form, t, s, one_of(z), *axes, *RANGES[dtype], dtype, *more)

        return run

    args: Args = lambda _, *t: (*t, *axes, *RANGES[dtype], None)  # noqa: E731
    common: dict[str, Any] = {"live": live, "tolerance": EXACT, "key": seed}
    check_op(
        f"quantized_decomposed.quantize_{name}",
        [x, scale, zero],
        reference(quantized),
        args=args,
        **common,
    )
    check_op(
        f"quantized_decomposed.dequantize_{name}",
        [q, scale, zero],
        reference(dequantized),
        args=lambda g, *t: (*args(g, *t), None),
        **common,
    )


@pytest.mark.parametrize("seed", seeds(30))
def test_blocks(seed: int) -> None:
    """torchao's: blocks of any sizes that divide the tensor's."""
    rng = rng_for("blocks", seed)
    rank = rng.randint(1, 4)
    counts = [rng.randint(1, 4) for _ in range(rank)]
    block = [rng.choice((1, 2, 3, 4)) for _ in range(rank)]
    shape = tuple(c * b for c, b in zip(counts, block, strict=True))
    dtype = (torch.int8, torch.uint8)[seed % 2]
    scale, zero = parameters(tuple(counts), rng, constant=False)
    live = [
        [tuple(c * b for c, b in zip(n, block, strict=True)), n, n]
        for n in live_shapes(rng, tuple(counts), subset(rng, rank))
    ]
    limits = rng.choice(((None, None), RANGES[dtype], (1, 15)))
    common: dict[str, Any] = {"live": live, "tolerance": EXACT, "key": seed}
    check_op(
        "torchao.quantize_affine.default",
        [Arg(shape, F32, -9, 9), scale, zero],
        lambda x, s, z: torchao.quantize_affine(x, block, s, z, dtype, *limits),
        args=lambda _, x, s, z: (x, block, s, z, None, *limits),
        **common,
    )
    low, high = RANGES[dtype]
    check_op(
        "torchao.dequantize_affine.default",
        [Arg(shape, dtype, low, high), scale, zero],
        lambda q, s, z: torchao.dequantize_affine(q, block, s, z, dtype, *limits, F32),
        args=lambda _, q, s, z: (q, block, s, z, None, *limits, 6),
        **common,
    )


def test_ties_go_to_even() -> None:
    """Also where the zero point is added before rounding, and at the ends of the range."""
    x = torch.arange(-300, 300).float() / 2
    for scale in (1.0, 0.1, 0.3, 1 / 3, 3.0):
        for form in ("tensor", "token"):
            one = torch.tensor([scale])
            expected = quantized(
                form, (x * one)[None], one, torch.tensor([3]), -128, 127, torch.int8
            )
            g = GraphBuilder()
            values = (g.input(F32, (1, 600)), g.input(F32, (1,)), g.input(I32, (1,)), -128, 127)
            overload = "tensor" if form == "tensor" else "default"
            name = f"quantized_decomposed.quantize_per_{form}.{overload}"
            g.output(g.call(name, *values, None, out=(torch.int8, (1, 600))))
            with g.load() as model:
                got = model.run((x * one)[None], one, torch.tensor([3], dtype=I32))
                check_outputs(got, [expected], EXACT, f"{form} {scale}")


def test_one_element_and_no_zero_points() -> None:
    name = "quantized_decomposed.quantize_per_tensor.default"
    check_op(
        name,
        [Arg(())],
        lambda x: quantized("tensor", x, 0.1, 3, -128, 127, torch.int8),
        args=lambda _, x: (x, 0.1, 3, -128, 127, None),
    )
    check_op(
        "quantized_decomposed.dequantize_per_channel.default",
        [Arg((3, 5), torch.int8, -128, 127), Arg((5,), low=0.1)],
        lambda q, s: dequantized("channel", q, s, None, 1, -128, 127, torch.int8),
        args=lambda _, q, s: (q, s, None, 1, -128, 127, None, None),
        tolerance=EXACT,
    )


REFUSED: list[tuple[str, list[Any], str]] = [
    ("per_channel.default", [(3,), (3,), 2, -128, 127], r"dimension 2 is outside \[-2, 1\]"),
    ("per_channel.default", [(4,), (3,), 0, -128, 127], r"scales of sizes \[4\] do not fit the 3"),
    ("per_channel.default", [(3,), (1,), 0, -128, 127], r"zero points of sizes \[1\] do not fit"),
    ("per_tensor.default", [0.0, 0, -128, 127], "the scale is 0"),
    ("per_tensor.default", [1.0, 0, -128, 200], r"the range \[-128, 200\] .* not one of int8"),
    ("per_tensor.default", [1.0, 0, 5, 4], r"the range \[5, 4\]"),
    ("per_tensor.tensor", [(2,), (1,), -128, 127], "do not fit the 1 blocks"),
    ("per_token.default", [(5,), (3,), -128, 127], "do not fit the 3 blocks"),
]


@pytest.mark.parametrize(("name", "args", "message"), REFUSED)
def test_what_does_not_fit_is_refused(name: str, args: list[Any], message: str) -> None:
    g = GraphBuilder()
    x = g.input(F32, (3, 5))
    given = [g.constant(torch.ones(a)) if isinstance(a, tuple) else a for a in args]
    operator = f"quantized_decomposed.quantize_{name}"
    g.output(g.call(operator, x, *given, None, out=(torch.int8, (3, 5))))
    with pytest.raises(ModelError, match=message):
        g.load()


def test_blocks_that_do_not_divide_are_refused() -> None:
    g = GraphBuilder()
    x = g.input(F32, (3, 5))
    scales = g.constant(torch.ones(3, 2))
    args = (x, [1, 2], scales, scales, None, None, None)
    g.output(g.call("torchao.quantize_affine.default", *args, out=(torch.int8, (3, 5))))
    with pytest.raises(ModelError, match="blocks of 2 do not divide a dimension of 5"):
        g.load()


@pytest.mark.parametrize("seed", seeds(16))
@pytest.mark.parametrize("form", ["tensor", "token"])
def test_choosing_scales_and_zero_points(form: str, seed: int) -> None:
    rng = rng_for(form, seed)
    bound = (*random_shape(rng, rng.randint(0, 3), elements=200), rng.choice((2, 3, 64, 577)))
    # All of one sign at times, or nothing but zeros: 0 is in the range, and no scale is 0.
    low, high = rng.choice(((-2.0, 2.0), (1.0, 3.0), (-3.0, -1.0), (0.0, 0.0), (-1.0, 30.0)))
    token = "choose_qparams_per_token_asymmetric"
    limits = (*rng.choice(((-128, 127), (0, 255), (-8, 7))), 1e-4) if form == "tensor" else ()
    dtype = torch.uint8 if limits and limits[0] == 0 else torch.int8

    def reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        choose = decomposed.choose_qparams.tensor if limits else getattr(decomposed, token)
        scales, zero_points = choose(x, *limits, dtype)
        return scales.float(), zero_points

    check_op(
        "quantized_decomposed." + ("choose_qparams.tensor" if limits else f"{token}.default"),
        [Arg(bound, low=low, high=high)],
        reference,
        args=lambda _, x: (x, *limits, None),
        live=[[s] for s in live_shapes(rng, bound, subset(rng, len(bound)))],
        tolerance=TIGHT,
        key=seed,
    )
