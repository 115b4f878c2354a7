"""A depthwise convolution that only a pointwise one reads, with what follows each: one call."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from support.capi import ModelError
from support.cases import (
    F16,
    F32,
    SUMS,
    Shape,
    check_outputs,
    generator_for,
    live_shapes,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder, Value
from support.epilogues import FUNCTIONS, sprinkled


@dataclass(frozen=True)
class Layer:
    """A convolution's weight, bias and what follows them in its call; and its function."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    window: tuple[list[int], list[int], list[int], bool, list[int], int]
    function: str

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.float()
        out: torch.Tensor = torch.ops.aten.convolution(x, self.weight.float(), bias, *self.window)
        return out

    def call(self, g: GraphBuilder, x: Value, bound: Shape) -> Value:
        bias = None if self.bias is None else g.constant(self.bias)
        arguments = (x, g.constant(self.weight), bias, *self.window)
        made: Value = g.call("aten.convolution.default", *arguments, out=(F32, bound))
        return made


def check(
    key: object,
    first: Layer,
    second: Layer,
    live: list[Shape],
    bound: Shape,
    residual: bool = False,
) -> None:
    rng, generator = rng_for("values", key), generator_for(key)
    functions = [FUNCTIONS[layer.function] for layer in (first, second)]
    g = GraphBuilder()
    x = g.input(F32, bound)
    between: Shape = tuple(first.reference(torch.zeros(bound)).shape)
    out = (between[0], len(second.weight), *between[2:])
    y = functions[0].calls(g, first.call(g, x, between), between)
    y = second.call(g, y, out)
    if residual:
        y = g.call("aten.add.Tensor", y, g.input(F32, out), 1, out=(F32, out))
    g.output(functions[1].calls(g, y, out))
    with g.load() as model:
        for shape in live:
            given = [torch.rand(shape, generator=generator) * 2 - 1]
            expected = second.reference(functions[0].reference(first.reference(given[0])))
            if residual:
                added = torch.rand(expected.shape, generator=generator) * 4 - 2
                given.append(sprinkled(rng, added, functions[1].specials))
                expected = expected + added
            expected = functions[1].reference(expected)
            check_outputs(model.run(*given), [expected], SUMS, f"{key} of sizes {shape}")


# Libraries of functions that a kernel takes at once, and pairs that stay apart.
PAIRS = [
    ("none", "none"),
    ("hardtanh", "none"),
    ("relu", "relu"),
    ("hardswish", "none"),
    ("silu of two calls", "sigmoid"),
    ("gelu", "hardtanh"),
    ("none", "tanh"),
]


def layers(
    key: object, dims: int, functions: tuple[str, str], channels: int, outputs: int
) -> tuple[Layer, Layer, list[int]]:
    """Two layers of random windows and dtypes, and the least extents that they take."""
    rng, generator = rng_for("layers", key), generator_for("weights", key)
    kernel = [rng.choice((1, 2, 3, 3, 5)) for _ in range(dims)]
    stride = [rng.choice((1, 1, 2, 3)) for _ in range(dims)]
    padding = [rng.choice((0, 0, 1, 2)) for _ in range(dims)]
    dilation = [rng.choice((1, 1, 2)) for _ in range(dims)]

    def tensor(*sizes: int) -> torch.Tensor:
        made = torch.rand(sizes, generator=generator) * 2 - 1
        return made.to(rng.choice((F32, F32, F16)))

    def bias(count: int) -> torch.Tensor | None:
        return tensor(count) if rng.random() < 0.7 else None

    one, zero = [1] * dims, [0] * dims
    depthwise = (stride, padding, dilation, False, zero, channels)
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    return (
        Layer(tensor(channels, 1, *kernel), bias(channels), depthwise, functions[0]),
        Layer(
            tensor(outputs, channels, *one),
            bias(outputs),
            (one, zero, one, False, zero, 1),
            functions[1],
        ),
        least,
    )


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("functions", PAIRS, ids=" then ".join)
@pytest.mark.parametrize("dims", [1, 2])
def test_random_layers(dims: int, functions: tuple[str, str], seed: int) -> None:
    key = (dims, functions, seed)
    rng = rng_for("sizes", key)
    channels = 4 * rng.randint(1, 9)  # of 3 channels, say, they are two calls
    outputs = rng.choice((1, 3, 16, 64, 70, 130))
    first, second, least = layers(key, dims, functions, channels, outputs)
    extents = [n + rng.choice((0, 3, rng.randint(0, 12))) for n in least]
    bound: Shape = (rng.randint(1, 3), channels, *extents)
    live: list[Shape] = []
    for shape in live_shapes(rng, bound, [0, *range(2, 2 + dims)], count=4):
        sizes = [max(n, size) for n, size in zip(least, shape[2:], strict=True)]
        live.append((shape[0], channels, *sizes))
    live.insert(1, (0, channels, *extents))
    check(key, first, second, live, bound, residual=seed % 2 == 1)


@pytest.mark.parametrize(
    ("channels", "outputs", "side"),
    [
        (4, 8, 60),  # tiles
        (8, 64, 57),
        (960, 160, 7),  # long rows, of several panels
        (960, 320, 7),
        (4096, 8, 3),  # longer than a workgroup's memory takes
        (576, 24, 1),  # a row
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_sizes_of_networks(channels: int, outputs: int, side: int, half: bool) -> None:
    generator = generator_for(channels, outputs, side)
    dtype = F16 if half else F32

    def tensor(*sizes: int) -> torch.Tensor:
        return ((torch.rand(sizes, generator=generator) * 2 - 1) / sizes[-3] ** 0.5).to(dtype)

    one, zero = [1, 1], [0, 0]
    first = Layer(
        tensor(channels, 1, 3, 3),
        torch.rand(channels, generator=generator).to(dtype),
        (one, one, one, False, zero, channels),
        "hardtanh",
    )
    second = Layer(tensor(outputs, channels, 1, 1), None, (one, zero, one, False, zero, 1), "none")
    bound = (1, channels, side, side)
    check((channels, outputs, side), first, second, [bound], bound)


def test_channels_that_are_no_whole_vectors() -> None:
    first, second, least = layers("odd", 2, ("relu", "relu"), 6, 5)
    bound = (2, 6, *(n + 4 for n in least))
    check("odd", first, second, [bound], bound)


@pytest.mark.parametrize("recorded", [(1, 16, 6, 6), (1, 4, 6, 6), (1, 8, 36)])
def test_results_of_other_sizes_than_recorded_are_refused(recorded: Shape) -> None:
    g = GraphBuilder()
    x = g.input(F32, (1, 8, 6, 6))
    depthwise = (g.constant(torch.rand(8, 1, 3, 3)), None, [1], [1], [1], False, [0], 8)
    y = g.call("aten.convolution.default", x, *depthwise, out=(F32, recorded))
    weight = torch.rand(4, recorded[1], *(1 for _ in recorded[2:]))
    pointwise = (g.constant(weight), None, [1], [0], [1], False, [0], 1)
    g.output(g.call("aten.convolution.default", y, *pointwise, out=(F32, (1, 4, 6, 6))))
    with pytest.raises(ModelError, match=r"aten\.convolution"):
        g.load()
