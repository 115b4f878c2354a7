"""Elementwise work over 8-bit activations, and how tensors of bytes move between operators."""

from __future__ import annotations

import random
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::q8ta_*
import pytest
import torch
from support.bytes import I8
from support.capi import ModelError
from support.cases import (
    EXACT,
    F32,
    Arg,
    Shape,
    check_op,
    check_outputs,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    singles,
    subset,
)
from support.delegate import GraphBuilder, Value

et_vk = torch.ops.et_vk
decomposed = torch.ops.quantized_decomposed


def eight_bits(bound: Shape) -> Arg:
    return Arg(bound, I8, -128, 127)


def random_pair(rng: random.Random) -> tuple[float, int]:
    """A scale, of powers of two half the time, so that there are ties; and a zero point."""
    scale = rng.choice((2.0 ** rng.randint(-6, -2), rng.uniform(0.01, 0.3)))
    return scale, rng.choice((0, -128, 127, rng.randint(-128, 127)))


@pytest.mark.parametrize("seed", seeds(50))
def test_add(seed: int) -> None:
    rng = rng_for("add", seed)
    bound = random_shape(rng, rng.randint(1, 4), elements=900)
    numbers = [n for _ in range(3) for n in random_pair(rng)]
    alpha = rng.choice((1.0, 1, 0.5, -2.0, 0.3))
    narrow = tuple(1 if rng.random() < 0.2 else n for n in bound)
    other = narrow[rng.choice((0, 0, 1)) :] if rng.random() < 0.3 else bound
    live = [[s, s] for s in live_shapes(rng, bound, subset(rng, len(bound)), least=0)]
    check_op(
        "et_vk.q8ta_add.default",
        [eight_bits(bound), eight_bits(other)],
        lambda a, b: et_vk.q8ta_add(a, b, *numbers, alpha),
        args=lambda _, a, b: (a, b, *numbers, alpha),
        live=live if other == bound else None,
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(50))
def test_relu(seed: int) -> None:
    rng = rng_for("relu", seed)
    bound = random_shape(rng, rng.randint(0, 4), elements=900)
    numbers = [*random_pair(rng), *random_pair(rng)]
    check_op(
        "et_vk.q8ta_relu.default",
        [eight_bits(bound)],
        lambda x: et_vk.q8ta_relu(x, *numbers),
        args=lambda _, x: (x, *numbers),
        live=singles(live_shapes(rng, bound, subset(rng, len(bound)), least=0)),
        tolerance=EXACT,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(50))
def test_pixel_shuffle(seed: int) -> None:
    rng = rng_for("shuffle", seed)
    r = rng.choice((1, 2, 2, 3))
    bound = (rng.randint(1, 2), r * r * rng.randint(1, 5), rng.randint(1, 7), rng.randint(1, 7))
    scale, zero = random_pair(rng)
    out, out_zero = rng.choice(((scale, zero), random_pair(rng)))
    numbers = (scale, zero, 1.0 / out, out_zero, r)
    check_op(
        "et_vk.q8ta_pixel_shuffle.default",
        [eight_bits(bound)],
        lambda x: et_vk.q8ta_pixel_shuffle(x, *numbers),
        args=lambda _, x: (x, *numbers),
        live=singles(live_shapes(rng, bound, [0, 2, 3])),
        tolerance=EXACT,
        key=seed,
    )


# --- What lies in bytes ---


def moved(g: GraphBuilder, x: Value, dtype: torch.dtype) -> Value:
    """x [2, 3, 5] as [3, 2, 4], by movements alone."""
    view = g.call("aten.view_copy.default", x, [6, 5], out=(dtype, (6, 5)))
    part = g.call("aten.slice_copy.Tensor", view, 1, 1, 5, 1, out=(dtype, (6, 4)))
    view = g.call("aten.view_copy.default", part, [2, 3, 4], out=(dtype, (2, 3, 4)))
    swapped = g.call("aten.permute_copy.default", view, [1, 0, 2], out=(dtype, (3, 2, 4)))
    flipped: Value = g.call("aten.flip.default", swapped, [0, 2], out=(dtype, (3, 2, 4)))
    return flipped


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool])
def test_movements(dtype: torch.dtype) -> None:
    low, high = (-128, 127) if dtype == I8 else (0, 255)
    given = torch.randint(low, high + 1, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    given = given.to(dtype)
    g = GraphBuilder()
    g.output(moved(g, g.input(dtype, (2, 3, 5)), dtype))
    with g.load() as model:
        expected = given.reshape(6, 5)[:, 1:].reshape(2, 3, 4).permute(1, 0, 2).flip(0, 2)
        check_outputs(model.run(given), [expected], EXACT)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("count", [1, 5, 64, 1001])
def test_quantized_and_back(dtype: torch.dtype, count: int) -> None:
    """Bytes between two operators, and an output of their own."""
    low, high = (-128, 127) if dtype == I8 else (0, 255)
    args = (0.1, 3, low, high)
    g = GraphBuilder()
    x = g.input(F32, (3, count))
    spec, name = (3, count), "quantized_decomposed"
    q = g.call(f"{name}.quantize_per_tensor.default", x, *args, None, out=(dtype, spec))
    d = g.call(f"{name}.dequantize_per_tensor.default", q, *args, None, None, out=(F32, spec))
    g.output(q, d)
    given = torch.randn(3, count, generator=torch.Generator().manual_seed(count)) * 9
    expected = decomposed.quantize_per_tensor(given, *args, dtype)
    back = decomposed.dequantize_per_tensor(expected, *args, dtype)
    with g.load() as model:
        check_outputs(model.run(given), [expected, back], EXACT)


def test_bytes_that_others_have_in_words() -> None:
    """A sum takes its operands in words only, so what it shares with 8-bit operators is so, too."""
    g = GraphBuilder()
    x = g.input(I8, (1, 3, 5, 5))
    weight = torch.randint(-9, 9, (3, 12), generator=torch.Generator().manual_seed(0)).to(I8)
    one = g.constant(torch.full((4,), 1.0))
    window = ([2, 2], [1, 1], [0, 0], [1, 1], 1, "none")
    args = (x, 1.0, 3, g.constant(weight), one, one, 16.0, 1, None, *window)
    made = g.call("et_vk.q8ta_conv2d.default", *args, out=(I8, (1, 3, 4, 4)))
    relu = g.call("et_vk.q8ta_relu.default", made, 16.0, 1, 8.0, 0, out=(I8, (1, 3, 4, 4)))
    g.output(g.call("aten.mul.Tensor", relu, made, out=(I8, (1, 3, 4, 4))))
    g.output(g.call("aten.mul.Tensor", x, x, out=(I8, (1, 3, 5, 5))))
    given = torch.randint(-8, 8, (1, 3, 5, 5), generator=torch.Generator().manual_seed(1)).to(I8)
    ones = torch.ones(3)
    # The wheel's own takes channels before taps, its exporter writes them behind.
    taken = weight.reshape(3, 4, 3).transpose(1, 2).reshape(3, 12)
    convolved = et_vk.q8ta_conv2d(given, 1.0, 3, taken, ones, ones, 16.0, 1, None, *window)
    product = et_vk.q8ta_relu(convolved, 16.0, 1, 8.0, 0) * convolved
    with g.load() as model:
        check_outputs(model.run(given), [product, given * given], EXACT)


@pytest.mark.parametrize(
    ("name", "args", "sentence"),
    [
        ("relu", (0.0, 1, 0.1, 1), "the scale 0.0 of a"),
        ("relu", (0.1, 200, 0.1, 1), "the zero point 200 of a is not one of int8"),
        ("relu", (0.1, 1, float("nan"), 1), "the scale nan of the output"),
        ("pixel_shuffle", (0.1, 1, 0.0, 1, 2), "the scale 0.0 of the output"),
        ("pixel_shuffle", (0.1, 1, 9.0, 1, 3), r"sizes \[1, 4, 2, 2\] do not shuffle by 3"),
        ("pixel_shuffle", (0.1, 1, 9.0, 1, 0), "do not shuffle by 0"),
        ("add", (0.1, 1, 1e60, 1, 0.1, 1, 1.0), "the scale 1e.60 of b"),
        ("add", (0.1, 1, 0.1, 1, 0.1, -200, 1.0), "the zero point -200 of the output"),
        ("add", (0.1, 1, 0.1, 1, 0.1, 1, float("inf")), "an alpha that is not a finite number"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, args: tuple[Any, ...], sentence: str) -> None:
    g = GraphBuilder()
    x = g.input(I8, (1, 4, 2, 2))
    tensors = (x, x) if name == "add" else (x,)
    g.output(g.call(f"et_vk.q8ta_{name}.default", *tensors, *args, out=(I8, (1, 4, 4, 4))))
    with pytest.raises(ModelError, match=sentence):
        g.load()
