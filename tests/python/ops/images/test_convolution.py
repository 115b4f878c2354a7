"""Convolutions of one and two dimensions: regular, grouped, depthwise, dilated and transposed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.capi import ModelError
from support.cases import F16, F32, SUMS, Arg, Shape, check_op, live_shapes, rng_for, seeds
from support.delegate import GraphBuilder


@dataclass
class Window:
    """What follows the tensors in aten.convolution."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    def arguments(self) -> list[Any]:
        return [
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        ]

    def smallest(self, kernel: int, dim: int) -> int:
        """The smallest input extent that still gives an output."""
        span = self.dilation[dim] * (kernel - 1) + 1
        if self.transposed:
            shrinks = 2 * self.padding[dim] - span - self.output_padding[dim]
            return max(1, 1 + -(-(shrinks + 1) // self.stride[dim]))
        return max(1, span - 2 * self.padding[dim])


def random_window(rng: random.Random, dims: int, groups: int, transposed: bool) -> Window:
    stride = [rng.choice((1, 1, 2, 3)) for _ in range(dims)]
    dilation = [rng.choice((1, 1, 2)) for _ in range(dims)]
    more = [
        rng.randint(0, max(s, d) - 1) if transposed else 0
        for s, d in zip(stride, dilation, strict=True)
    ]
    padding = [rng.choice((0, 0, 1, 2)) for _ in range(dims)]
    return Window(stride, padding, dilation, transposed, more, groups)


def check(
    seed: int,
    dims: int,
    kind: str,
    *,
    clamp: tuple[float | None, float | None] | None = None,
    constant: bool = True,
) -> None:
    rng = rng_for("convolution", seed, dims, kind, clamp, constant)
    transposed = kind.startswith("transposed")
    groups = rng.choice((2, 3)) if kind.endswith("grouped") else 1
    channels, outputs = groups * rng.randint(1, 9), groups * rng.choice((1, 3, 4, 17, 33))
    if kind == "depthwise":
        groups = channels = rng.randint(2, 40)
        outputs = groups * rng.choice((1, 1, 2))
    kernel = [1 if kind == "pointwise" else rng.randint(1, 4) for _ in range(dims)]
    window = random_window(rng, dims, groups, transposed)
    least = [window.smallest(k, i) for i, k in enumerate(kernel)]
    bound: Shape = (rng.randint(1, 3), channels, *(n + rng.randint(0, 12) for n in least))
    lead = (channels, outputs // groups) if transposed else (outputs, channels // groups)
    dtype = F16 if seed % 4 == 3 and constant else F32
    tensors = [Arg(bound), Arg((*lead, *kernel), dtype, constant=constant)]
    if seed % 3:
        tensors.append(Arg((outputs,), dtype, constant=constant))
    live: list[Shape] = []
    for shape in live_shapes(rng, bound, [0, *range(2, 2 + dims)]):
        extents = [max(n, size) for n, size in zip(least, shape[2:], strict=True)]
        live.append((shape[0], channels, *extents))

    def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
        bias = None if bias is None else bias.float()
        out = torch.ops.aten.convolution(x, weight.float(), bias, *window.arguments())
        return out if clamp is None else torch.clamp(out.double(), *clamp).float()

    check_op(
        "aten.convolution.default" if clamp is None else "et_vk.conv_with_clamp.default",
        tensors,
        reference,
        args=lambda g, x, w, b=None: (x, w, b, *window.arguments(), *(clamp or ())),
        live=[[shape, *(t.bound for t in tensors[1:])] for shape in live],
        tolerance=SUMS,
        key=seed,
    )


KINDS = ("regular", "pointwise", "grouped", "depthwise", "transposed", "transposed grouped")


@pytest.mark.parametrize("seed", seeds(12))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2])
def test_convolution(dims: int, kind: str, seed: int) -> None:
    check(seed, dims, kind)


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("clamp", [(0.0, 1.797e308), (-1.0, 6.0), (None, 0.5), (0.25, None)])
@pytest.mark.parametrize("kind", ["regular", "depthwise"])
def test_clamped(kind: str, clamp: tuple[float | None, float | None], seed: int) -> None:
    check(seed, 2, kind, clamp=clamp)


@pytest.mark.parametrize("kind", ["regular", "transposed grouped"])
def test_a_weight_that_is_an_input(kind: str) -> None:
    check(1, 2, kind, constant=False)


def test_lists_of_one_item_serve_both_dimensions() -> None:
    """As older files have them."""
    check_op(
        "aten.convolution.default",
        [Arg((1, 4, 9, 8)), Arg((6, 4, 3, 3), constant=True)],
        lambda x, w: torch.ops.aten.convolution(x, w, None, [2], [1], [1], False, [0], 1),
        args=lambda g, x, w: (x, w, None, [2], [1], [1], False, [0], 1),
        tolerance=SUMS,
    )


def test_a_wide_product() -> None:
    """Many rows and columns: whole tiles."""
    check_op(
        "aten.convolution.default",
        [Arg((1, 32, 40, 33)), Arg((96, 32, 3, 3), constant=True), Arg((96,), constant=True)],
        lambda x, w, b: torch.ops.aten.convolution(x, w, b, [1, 1], [1, 1], [1, 1], False, [0], 1),
        args=lambda g, x, w, b: (x, w, b, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        tolerance=SUMS,
    )


@pytest.mark.parametrize(
    ("weight", "arguments", "sentence"),
    [
        ((6, 4, 3, 3), ([0, 1], [0, 0], [1, 1], False, [0, 0], 1), "a stride of \\[0, 1\\]"),
        ((6, 4, 3, 3), ([1, 1], [-1, 0], [1, 1], False, [0, 0], 1), "a padding of \\[-1, 0\\]"),
        ((6, 4, 3, 3), ([1, 1, 1], [0, 0], [1, 1], False, [0, 0], 1), "does not suit 2 dimensions"),
        ((6, 4, 9, 3), ([1, 1], [0, 0], [1, 1], False, [0, 0], 1), "spans 9 elements is larger"),
        ((6, 3, 3, 3), ([1, 1], [0, 0], [1, 1], False, [0, 0], 1), "does not fit x of sizes"),
        ((6, 4, 3, 3), ([1, 1], [0, 0], [1, 1], False, [0, 0], 0), "4 channels in 0 groups"),
        ((6, 4, 3, 3), ([1, 1], [0, 0], [2**31, 1], False, [0, 0], 1), "a dilation of"),
        ((6, 4, 3), ([1], [0], [1], False, [0], 1), "with a weight"),
        ((4, 6, 1, 1), ([1, 1], [9, 0], [1, 1], True, [0, 0], 1), "an output of -"),
    ],
)
def test_what_does_not_fit_is_refused(
    weight: Shape, arguments: tuple[Any, ...], sentence: str
) -> None:
    g = GraphBuilder()
    x = g.input(F32, (1, 4, 8, 8))
    w = g.constant(torch.zeros(weight))
    g.output(g.call("aten.convolution.default", x, w, None, *arguments, out=(F32, (1, 6, 6, 6))))
    with pytest.raises(ModelError, match=sentence):
        g.load()


def test_a_padding_that_is_computed_is_refused() -> None:
    g = GraphBuilder()
    x, padding = g.input(F32, (1, 1, 8)), g.symint_input()
    w = g.constant(torch.ones(1, 1, 1))
    arguments = (None, [1], [padding], [1], False, [0], 1)
    g.output(g.call("aten.convolution.default", x, w, *arguments, out=(F32, (1, 1, 16))))
    with pytest.raises(ModelError, match="is a SymInt, whose value is not known at load"):
        g.load()
