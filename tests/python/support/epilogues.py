"""Functions that may follow a product: calls behind a value as programs have them, and torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .cases import F32, Shape, Tolerance, check_outputs, generator_for
from .delegate import GraphBuilder, Value

Calls = Callable[[GraphBuilder, Value, Shape], Value]


def _call(name: str, *numbers: Any) -> Calls:
    return lambda g, x, bound: g.call(name, x, *numbers, out=(F32, bound))


def _silu(g: GraphBuilder, x: Value, bound: Shape) -> Value:
    gate = g.call("aten.sigmoid.default", x, out=(F32, bound))
    return g.call("aten.mul.Tensor", x, gate, out=(F32, bound))


@dataclass(frozen=True)
class Function:
    calls: Calls
    reference: Callable[[torch.Tensor], torch.Tensor]
    specials: tuple[float, ...] = (torch.nan, torch.inf)


_ALL = (torch.nan, torch.inf, -torch.inf)

FUNCTIONS: dict[str, Function] = {
    "none": Function(lambda g, x, bound: x, lambda x: x, _ALL),
    "relu": Function(_call("aten.relu.default"), F.relu, _ALL),
    "hardtanh": Function(
        _call("aten.hardtanh.default", -0.5, 1.5), lambda x: F.hardtanh(x, -0.5, 1.5), _ALL
    ),
    "clamp": Function(_call("aten.clamp.default", 0.25, None), lambda x: x.clamp(min=0.25), _ALL),
    "sigmoid": Function(_call("aten.sigmoid.default"), torch.sigmoid, _ALL),
    "tanh": Function(_call("aten.tanh.default"), torch.tanh, _ALL),
    "silu": Function(_call("aten.silu.default"), F.silu),
    "silu of two calls": Function(_silu, F.silu),
    "gelu": Function(_call("aten.gelu.default", "none"), F.gelu, (torch.nan,)),
    "gelu by tanh": Function(
        _call("aten.gelu.default", "tanh"), lambda x: F.gelu(x, approximate="tanh")
    ),
    "hardswish": Function(_call("aten.hardswish.default"), F.hardswish),
    "leaky relu": Function(
        _call("aten.leaky_relu.default", 0.1), lambda x: F.leaky_relu(x, 0.1), _ALL
    ),
}


def sprinkled(rng: random.Random, tensor: torch.Tensor, specials: Sequence[float]) -> torch.Tensor:
    """The tensor with some of its elements special."""
    flat = tensor.reshape(-1)
    for special in specials:
        if flat.numel():
            flat[rng.randrange(flat.numel())] = special
    return tensor


@dataclass(frozen=True)
class Product:
    """A call whose first argument is x, and the same in torch."""

    name: str
    arguments: Callable[[GraphBuilder], Sequence[Any]]  # after x
    reference: Callable[[torch.Tensor], torch.Tensor]
    bound: Shape  # of x
    live: Sequence[Shape]


def check_epilogue(
    rng: random.Random,
    product: Product,
    function: Function,
    *,
    residual: bool,
    tolerance: Tolerance,
) -> None:
    """function(product(x) + residual) at every live size; sums in either order."""
    generator = generator_for(product.name, rng.random())
    graph = GraphBuilder()
    x = graph.input(F32, product.bound)
    bound: Shape = tuple(product.reference(torch.zeros(product.bound)).shape)
    y = graph.call(product.name, x, *product.arguments(graph), out=(F32, bound))
    if residual:
        r = graph.input(F32, bound)
        pair = (r, y) if rng.random() < 0.5 else (y, r)
        y = graph.call("aten.add.Tensor", *pair, 1, out=(F32, bound))
    y = function.calls(graph, y, bound)
    graph.output(y)
    with graph.load() as model:
        for shape in product.live:
            given = [torch.rand(shape, generator=generator) * 2 - 1]
            expected = product.reference(given[0])
            if residual:
                added = torch.rand(expected.shape, generator=generator) * 4 - 2
                given.append(sprinkled(rng, added, function.specials))
                expected = expected + added
            where = f"{product.name} of sizes {shape}"
            check_outputs(model.run(*given), [function.reference(expected)], tolerance, where)
