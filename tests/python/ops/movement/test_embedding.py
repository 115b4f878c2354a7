"""Rows of a table of floats."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from support.cases import (
    EXACT,
    F16,
    F32,
    Arg,
    check_op,
    indices,
    live_shapes,
    random_shape,
    rng_for,
    seeds,
    subset,
)


@pytest.mark.parametrize("seed", seeds(16))
def test_embedding(seed: int) -> None:
    rng = rng_for("embedding", seed)
    rows, width = rng.randint(1, 40), rng.choice((1, 3, 8, 33, 64))
    bound = random_shape(rng, rng.randint(0, 3), elements=64)
    dtype = (F32, F16)[seed % 4 == 3]
    check_op(
        "aten.embedding.default",
        [Arg((rows, width), dtype, constant=seed % 3 != 0), indices(bound, rows, seed)],
        lambda w, i: F.embedding(i, w),
        args=lambda g, w, i: (w, i, -1, False, False),
        live=[[(rows, width), s] for s in live_shapes(rng, bound, subset(rng, len(bound)))],
        tolerance=EXACT,
        key=seed,
    )
