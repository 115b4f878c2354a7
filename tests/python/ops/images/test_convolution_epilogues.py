"""What follows a convolution and joins its results: sums, and functions of one element."""

from __future__ import annotations

import pytest
import torch
from support.cases import SUMS, Shape, live_shapes, rng_for, seeds
from support.epilogues import FUNCTIONS, Product, check_epilogue, sprinkled


def convolution(seed: int, kind: str, name: str) -> Product:
    """With dynamic batches and sizes, and special numbers in its bias."""
    rng = rng_for("convolution epilogue", seed, kind, name)
    groups, channels, outputs = 1, rng.randint(1, 9), rng.choice((1, 3, 4, 17, 70))
    if kind == "depthwise":
        groups = channels = outputs = rng.randint(2, 20)
    kernel = 1 if kind == "pointwise" else rng.randint(1, 3)
    window = ([rng.choice((1, 1, 2))] * 2, [rng.choice((0, 1))] * 2, [1, 1])
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, channels // groups, kernel, kernel, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    if seed % 2 == 0:
        sprinkled(rng, bias, FUNCTIONS[name].specials[:1])
    bound: Shape = (rng.randint(1, 3), channels, kernel + rng.randint(0, 9), kernel + 5)
    live = [
        (shape[0], channels, max(kernel, shape[2]), max(kernel, shape[3]))
        for shape in live_shapes(rng, bound, [0, 2, 3], count=3)
    ]

    def reference(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.aten.convolution(
            x, weight, bias, *window, False, [0, 0], groups
        )
        return out

    unbounded = rng.random() < 0.3
    return Product(
        "et_vk.conv_with_clamp.default" if unbounded else "aten.convolution.default",
        lambda g: (
            *(g.constant(weight), g.constant(bias), *window, False, [0, 0], groups),
            *((None, None) if unbounded else ()),
        ),
        reference,
        bound,
        live,
    )


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", ["regular", "pointwise", "depthwise"])
def test_a_function_of_a_convolution(kind: str, name: str, seed: int) -> None:
    product = convolution(seed, kind, name)
    rng = rng_for("residual", seed, kind, name)
    check_epilogue(rng, product, FUNCTIONS[name], residual=seed == 1, tolerance=SUMS)
