"""Upsampling, grid sampling and grid priors."""

from __future__ import annotations

from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::grid_priors
import pytest
import torch
import torch.nn.functional as F
from support.cases import EXACT, F16, F32, NORMAL, Arg, check_op, live_shapes, rng_for, seeds


@pytest.mark.parametrize("seed", seeds(20))
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "aligned"])
def test_upsample(mode: str, seed: int) -> None:
    """To given sizes or by given factors, larger and smaller."""
    rng = rng_for(mode, seed)
    bound = (rng.randint(1, 2), rng.randint(1, 5), rng.randint(1, 9), rng.randint(1, 9))
    sizes = [rng.randint(1, 20), rng.randint(1, 20)] if seed % 2 else None
    factors = None if seed % 2 else [rng.choice((0.5, 1.0, 1.5, 2.0, 3.25)) for _ in range(2)]
    if factors and min(int(bound[2 + i] * f) for i, f in enumerate(factors)) == 0:
        factors = [2.0, 2.0]
    corners: dict[str, Any] = {} if mode == "nearest" else {"align_corners": mode == "aligned"}
    kind = "nearest" if mode == "nearest" else "bilinear"
    extra = [] if mode == "nearest" else [mode == "aligned"]
    check_op(
        f"aten.upsample_{kind}2d.vec",
        [Arg(bound, (F32, F32, F16)[seed % 3])],
        lambda x: F.interpolate(x, size=sizes, scale_factor=factors, mode=kind, **corners),
        args=lambda g, x: (x, sizes, *extra, factors),
        live=[[s] for s in live_shapes(rng, bound, [0, 1])],
        tolerance=EXACT if mode == "nearest" else NORMAL,
        key=seed,
    )


@pytest.mark.parametrize("seed", seeds(8))
def test_grid_sampler(seed: int) -> None:
    """Points inside, on the border and outside."""
    rng = rng_for("grid_sampler", seed)
    batch, channels = rng.randint(1, 3), rng.randint(1, 4)
    image = (batch, channels, rng.randint(1, 9), rng.randint(1, 9))
    check_op(
        "aten.grid_sampler_2d.default",
        [Arg(image), Arg((batch, rng.randint(1, 7), rng.randint(1, 7), 2), low=-1.4, high=1.4)],
        lambda x, g: F.grid_sample(x, g, "bilinear", "border", align_corners=True),
        args=lambda g, x, grid: (x, grid, 0, 1, True),
        tolerance=NORMAL,
        key=seed,
    )


def test_grid_priors() -> None:
    bound = (1, 2, 5, 7)
    check_op(
        "et_vk.grid_priors.default",
        [Arg(bound)],
        lambda x: torch.ops.et_vk.grid_priors(x, 8, 0.5),
        args=lambda g, x: (x, 8, 0.5),
        live=[[bound], [(1, 2, 3, 4)], [(1, 2, 5, 7)]],
        tolerance=EXACT,
    )
