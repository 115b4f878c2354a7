"""Linear layers over 8-bit activations, for many rows and for one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.bytes import I8, Scales, agreed, linear, sums_of, up_to_4
from support.capi import ModelError
from support.cases import EXACT, F32, I32, Arg, Shape, check_op, live_shapes, rng_for, seeds
from support.delegate import GraphBuilder


def check(name: str, seed: int, bound: Shape, outputs: int) -> None:
    rng = rng_for(name, seed)
    depth = bound[-1]
    scales = Scales.random(rng, 40 * 60 * depth**0.5)
    activation = rng.choice(("none", "relu"))
    padded = up_to_4(outputs)
    tensors = [
        Arg(bound, I8, -128, 127),
        Arg((outputs, depth), I8, -127, 127, constant=True),
        sums_of(padded),
        scales.weight(padded),
    ]
    if rng.random() < 0.7:
        tensors.append(scales.bias(padded))

    def args(_: Any, x: Any, weight: Any, sums: Any, s: Any, bias: Any = None) -> list[Any]:
        parts = [x, scales.x, scales.x_zero, weight, sums, s, scales.out, scales.out_zero]
        return [*parts, bias, activation]

    def reference(*t: torch.Tensor) -> torch.Tensor:
        given = args(None, *t)
        return agreed(linear(*given), lambda: wheel(*given), scales.exact)

    def wheel(*given: Any) -> torch.Tensor:
        x, x_scale, x_zero, weight, sums, weight_scales, *more = given
        operator = getattr(torch.ops.et_vk, name)
        result: torch.Tensor = operator(
            x, x_scale, x_zero, weight, sums, weight_scales[:outputs], *more
        )
        return result

    live = [
        [s, *(t.bound for t in tensors[1:])]
        for s in live_shapes(rng, bound, range(len(bound) - 1), 4, least=0)
    ]
    check_op(f"et_vk.{name}.default", tensors, reference, args=args, live=live, tolerance=EXACT)


@pytest.mark.parametrize("seed", seeds(50))
@pytest.mark.parametrize("name", ["q8ta_linear", "q8ta_linear_gemv"])
def test_linear(name: str, seed: int) -> None:
    rng = rng_for("sizes", name, seed)
    rows = (1,) if name.endswith("gemv") else (rng.choice((2, 3, 4, 5, 16, 17, 40)),)
    lead = (*rng.choice(((), (), (2,), (1, 3))), *rows) if seed % 9 else ()
    bound = (*lead, rng.choice((1, 3, 4, 6, 64, 100, 255)))
    check(name, seed, bound, rng.choice((1, 3, 4, 10, 64, 66, 130)))


@pytest.mark.parametrize("rows", [1, 70])
def test_a_deep_layer(rows: int) -> None:
    """Sums past what f32 holds exactly."""
    check("q8ta_linear", rows, (rows, 3000), 68)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({1: 0.0}, "the scale 0.0 of x"),
        ({3: (6, 35)}, r"sizes \[6, 35\] does not hold 6 rows of 36"),
        ({3: (5, 36)}, r"sizes \[5, 36\] does not hold 6 rows of 36"),
        ({5: (3,)}, "the weight's scales .* does not hold 6 numbers"),
        ({8: (3,)}, "the bias .* does not hold 6 numbers"),
        ({9: "tanh"}, "the activation 'tanh'"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[int, Any], sentence: str) -> None:
    g = GraphBuilder()
    args: list[Any] = [g.input(I8, (2, 36)), 0.1, 3, (6, 36), (8,), (8,), 0.1, 3, (8,), "none"]
    for i, value in changed.items():
        args[i] = value
    for i, dtype in ((3, I8), (4, I32), (5, F32), (8, F32)):
        args[i] = g.constant(torch.ones(args[i], dtype=dtype))
    g.output(g.call("et_vk.q8ta_linear.default", *args, out=(I8, (2, 6))))
    with pytest.raises(ModelError, match=sentence):
        g.load()


def test_a_weight_that_is_an_input_is_refused() -> None:
    g = GraphBuilder()
    x, weight = g.input(I8, (2, 8)), g.input(I8, (4, 8))
    one = g.constant(torch.ones(4))
    args = (x, 0.1, 3, weight, one, one, 0.1, 3, None, "none")
    g.output(g.call("et_vk.q8ta_linear.default", *args, out=(I8, (2, 4))))
    with pytest.raises(ModelError, match="must be a constant that no call writes"):
        g.load()
