"""Convolutions over 8-bit activations: general, pointwise, depthwise, in groups and transposed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.bytes import I8, Scales, agreed, convolution, sums_of, up_to_4
from support.capi import ModelError
from support.cases import EXACT, F32, I32, Arg, Shape, check_op, live_shapes, rng_for, seeds
from support.delegate import GraphBuilder

KINDS = ("", "_pw", "_dw", "_transposed", " grouped", "_transposed grouped")


@dataclass
class Layer:
    kernel: list[int]
    stride: list[int]
    padding: list[int]
    output_padding: list[int]
    dilation: list[int]
    groups: int
    transposed: bool
    activation: str

    def arguments(self) -> list[Any]:
        more = [self.output_padding] if self.transposed else []
        lists = [self.kernel, self.stride, self.padding, *more, self.dilation]
        return [*lists, self.groups, self.activation]


def random_layer(rng: random.Random, kind: str, groups: int) -> Layer:
    transposed, pointwise = "transposed" in kind, kind == "_pw"
    kernel = [1 if pointwise else rng.randint(1, 4) for _ in range(2)]
    stride = [1 if pointwise else rng.choice((1, 1, 2, 3)) for _ in range(2)]
    dilation = [1 if pointwise else rng.choice((1, 1, 2)) for _ in range(2)]
    more = [rng.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)]
    padding = [0 if pointwise else rng.choice((0, 1, 2)) for _ in range(2)]
    activation = rng.choice(("none", "relu"))
    return Layer(kernel, stride, padding, more, dilation, groups, transposed, activation)


def smallest(layer: Layer, dim: int) -> int:
    """The smallest extent of x that gives an output."""
    span = layer.dilation[dim] * (layer.kernel[dim] - 1) + 1
    if layer.transposed:
        shrinks = 2 * layer.padding[dim] - span - layer.output_padding[dim]
        return max(1, 1 + -(-(shrinks + 1) // layer.stride[dim]))
    return max(1, span - 2 * layer.padding[dim])


def check(kind: str, layer: Layer, bound: Shape, outputs: int, rng: random.Random) -> None:
    channels = bound[1] // layer.groups
    depth = channels * layer.kernel[0] * layer.kernel[1]
    scales = Scales.random(rng, 40 * 60 * depth**0.5)
    padded = up_to_4(outputs)
    scale_count = outputs // layer.groups if layer.transposed else outputs
    depthwise = kind == "_dw"
    sizes = (*layer.kernel, outputs) if depthwise else (outputs, up_to_4(depth))
    tensors = [
        Arg(bound, I8, -128, 127),
        Arg(sizes, I8, -127, 127, constant=True),
        sums_of(padded),
        scales.weight(up_to_4(scale_count)),
    ]
    if rng.random() < 0.7:
        tensors.append(scales.bias(padded))
    name = f"q8ta_conv2d{kind.split(' ')[0]}"

    def args(_: Any, x: Any, weight: Any, sums: Any, s: Any, bias: Any = None) -> list[Any]:
        parts = [x, scales.x, scales.x_zero, weight, sums, s, scales.out, scales.out_zero]
        return [*parts, bias, *layer.arguments()]

    def reference(*t: torch.Tensor) -> torch.Tensor:
        given = args(None, *t)
        ours = convolution(*given)
        # The wheel's scales do not fit weights that are transposed in groups.
        if layer.transposed and layer.groups > 1:
            return ours
        return agreed(ours, lambda: wheel(*given), scales.exact)

    def wheel(*given: Any) -> torch.Tensor:
        x, x_scale, x_zero, weight, sums, weight_scales, *more = given
        if not depthwise:  # in the order that it unpacks
            taps = weight[:, :depth].reshape(outputs, *layer.kernel, channels)
            weight = taps.permute(0, 3, 1, 2).reshape(outputs, depth)
        more[2] = None if more[2] is None else more[2][:outputs]
        operator = getattr(torch.ops.et_vk, name)
        result: torch.Tensor = operator(
            x, x_scale, x_zero, weight, sums, weight_scales[:scale_count], *more
        )
        return result

    dynamic = [0, 2, 3]
    least = [smallest(layer, i) for i in range(2)]
    live = [
        [(s[0], s[1], max(s[2], least[0]), max(s[3], least[1])), *(t.bound for t in tensors[1:])]
        for s in live_shapes(rng, bound, dynamic, 4)
    ]
    check_op(f"et_vk.{name}.default", tensors, reference, args=args, live=live, tolerance=EXACT)


CASES = [(k, s) for k in KINDS for s in seeds(50 if k in ("_pw", "_dw") else 25)]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_convolution(kind: str, seed: int) -> None:
    rng = rng_for("bytes", kind, seed)
    groups = rng.choice((2, 3)) if "grouped" in kind else 1
    channels, outputs = groups * rng.randint(1, 9), groups * rng.choice((1, 3, 4, 8, 17, 33))
    if kind == "_dw":
        groups = channels = rng.randint(1, 20)
        outputs = groups * rng.choice((1, 1, 2))
    layer = random_layer(rng, kind, groups)
    extents = [smallest(layer, i) + rng.randint(0, 9) for i in range(2)]
    check(kind, layer, (rng.randint(1, 3), channels, *extents), outputs, rng)


@pytest.mark.parametrize("kind", ["", "_pw", "_transposed"])
def test_whole_tiles(kind: str) -> None:
    """Many rows and columns, in images of whole words and not."""
    for extents in ((12, 16), (9, 11)):
        rng = rng_for("tiles", kind)
        layer = random_layer(rng, kind, 1)
        layer.stride = layer.dilation = [1, 1]
        check(kind, layer, (2, 37, *extents), 130, rng)


def test_single_pixels() -> None:
    """As behind a mean over an image."""
    for outputs in (10, 12):
        rng = rng_for("pixels", outputs)
        check("_pw", random_layer(rng, "_pw", 1), (3, 21, 1, 1), outputs, rng)


WINDOW = ([3, 3], [1, 1], [1, 1], [1, 1], 1, "none")
REFUSED: list[tuple[str, dict[int, Any], str]] = [
    ("", {1: 0.0}, "the scale 0.0 of x"),
    ("", {1: -0.5}, "the scale -0.5 of x"),
    ("", {1: float("nan")}, "the scale nan of x"),
    ("", {1: 1e-60}, "the scale 1e-60 of x"),
    ("", {6: float("inf")}, "the scale inf of the output"),
    ("", {2: 128}, "the zero point 128 of x is not one of int8"),
    ("", {7: -129}, "the zero point -129 of the output"),
    ("", {3: (6, 32)}, r"a weight of type int8 and sizes \[6, 32\] does not hold 6 rows of 36"),
    ("", {3: (6, 40)}, r"sizes \[6, 40\] does not hold 6 rows of 36"),
    ("", {3: (6, 3, 12)}, r"a weight of sizes \[6, 3, 12\]"),
    ("", {5: (5,)}, "the weight's scales of type float32 and sizes .5. does not hold 6 numbers"),
    ("", {8: (3,)}, "the bias of type float32 and sizes .3. does not hold 6 numbers"),
    ("", {9: [0, 3]}, r"a kernel of \[0, 3\]"),
    ("", {9: [2**31, 3]}, "a kernel of"),
    ("", {9: [2**24, 2**24], 11: [2**24, 2**24]}, "sums of 1125899906842624 products"),
    ("", {10: [0, 1]}, r"a stride of \[0, 1\]"),
    ("", {11: [-1, 1]}, r"a padding of \[-1, 1\]"),
    ("", {12: [9, 1]}, "a kernel that spans 19 elements is larger"),
    ("", {13: 0}, "4 channels to 6 in 0 groups"),
    ("", {13: 4}, "4 channels to 6 in 4 groups"),
    ("", {14: "gelu"}, "the activation 'gelu'"),
    ("_dw", {3: (3, 3, 6)}, r"none of a depthwise convolution of 4 channels in 1 groups"),
]


@pytest.mark.parametrize(("kind", "changed", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused(kind: str, changed: dict[int, Any], sentence: str) -> None:
    g = GraphBuilder()
    args: list[Any] = [g.input(I8, (1, 4, 8, 8)), 0.1, 3, (6, 36), (8,), (8,), 0.1, 3, (8,)]
    args += WINDOW
    for i, value in changed.items():
        args[i] = value
    for i, dtype in ((3, I8), (4, I32), (5, F32), (8, F32)):
        args[i] = g.constant(torch.ones(args[i], dtype=dtype))
    g.output(g.call(f"et_vk.q8ta_conv2d{kind}.default", *args, out=(I8, (1, 6, 8, 8))))
    with pytest.raises(ModelError, match=sentence):
        g.load()


def test_other_types_are_refused() -> None:
    for x, out, sentence in (
        (torch.uint8, I8, "x of type uint8, where int8 is due"),
        (I8, torch.uint8, "the output of type uint8"),
    ):
        g = GraphBuilder()
        constants = [torch.ones(6, 36, dtype=I8), torch.ones(8, dtype=I32), torch.ones(8)]
        args = [g.input(x, (1, 4, 8, 8)), 0.1, 3, *map(g.constant, constants), 0.1, 3, None]
        g.output(g.call("et_vk.q8ta_conv2d.default", *args, *WINDOW, out=(out, (1, 6, 8, 8))))
        with pytest.raises(ModelError, match=sentence):
            g.load()


def test_sums_that_may_overflow_are_refused() -> None:
    g = GraphBuilder()
    x = g.input(I8, (1, 16449, 2, 2))
    weight = g.constant(torch.ones(1, 65796, dtype=I8))
    one = g.constant(torch.ones(4))
    args = (x, 0.1, 0, weight, one, one, 0.1, 0, None, [2, 2], [1, 1], [0, 0], [1, 1], 1, "none")
    g.output(g.call("et_vk.q8ta_conv2d.default", *args, out=(I8, (1, 1, 1, 1))))
    with pytest.raises(ModelError, match="sums of 65796 products of 8-bit integers: 1 to 65"):
        g.load()
