"""What follows a linear layer and joins its results: sums, and functions of one element."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.cases import F16, F32, HALF, SUMS, Shape, Tolerance, rng_for, seeds
from support.epilogues import FUNCTIONS, Product, check_epilogue, sprinkled
from support.options import option

SIZES = (1, 3, 8, 31, 32, 64, 65, 100)


def layer(seed: int, name: str) -> Product:
    """With one row and many, and special numbers in its bias."""
    rng = rng_for("linear epilogue", seed, name)
    k, n, rows = rng.choice(SIZES), rng.choice(SIZES), rng.choice((*SIZES, 150))
    lead: Shape = ((), (1,), (2,))[seed % 3]
    dtype = F16 if seed % 4 == 3 else F32
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, k, generator=generator).to(dtype)
    bias = sprinkled(rng, torch.randn(n, generator=generator), FUNCTIONS[name].specials[seed % 2 :])
    live = [(*lead, m, k) for m in (rows, 1, rows)]
    return Product(
        "aten.linear.default",
        lambda g: (g.constant(weight), g.constant(bias) if seed % 2 else None),
        lambda x: F.linear(x, weight.float(), bias if seed % 2 else None),
        (*lead, rows, k),
        live,
    )


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_a_linear_layer(name: str, seed: int) -> None:
    rng = rng_for("linear residual", seed, name)
    check_epilogue(rng, layer(seed, name), FUNCTIONS[name], residual=seed % 3 != 1, tolerance=SUMS)


@pytest.mark.parametrize("name", ["none", "relu", "silu of two calls", "gelu by tanh"])
def test_a_function_of_a_product_in_f16(name: str) -> None:
    """Where there are matrix units: the sums are finished by a call of their own."""
    rng = rng_for("halves", name)
    weight = torch.randn(100, 64, generator=torch.Generator().manual_seed(1)).half()
    product = Product(
        "aten.linear.default",
        lambda g: (g.constant(weight), None),
        lambda x: F.linear(x, weight.float()),
        (70, 64),
        [(70, 64), (17, 64), (70, 64)],
    )
    tolerance = Tolerance(HALF.relative, 2e-2)  # 64 products of numbers of that size
    with option("matmul_dtype", "f16"):
        check_epilogue(rng, product, FUNCTIONS[name], residual=True, tolerance=tolerance)
