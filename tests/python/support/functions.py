"""Operators of floats and eager torch's function for each: what tests go through."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .cases import BOOL, EXACT, F16, F32, I32, I64, NORMAL, SUMS, TIGHT, Shape, Tolerance

# WGSL bounds the error of sin and cos by 2^-11 within one period.
TRIGONOMETRIC = Tolerance(0.0, 6e-4)

# operator: reference, range of elements, arguments after the tensor, tolerance
UNARY: dict[str, tuple[Callable[..., torch.Tensor], float, float, list[Any], Tolerance]] = {
    "aten.abs.default": (torch.abs, -5, 5, [], EXACT),
    "aten.cos.default": (torch.cos, -math.pi, math.pi, [], TRIGONOMETRIC),
    "aten.exp.default": (torch.exp, -20, 12, [], NORMAL),
    "aten.gelu.default": (F.gelu, -9, 9, ["none"], NORMAL),
    "aten.gelu.default tanh": (lambda x: F.gelu(x, approximate="tanh"), -40, 40, ["tanh"], NORMAL),
    "aten.hardshrink.default": (lambda x: F.hardshrink(x, 0.7), -2, 2, [0.7], EXACT),
    "aten.hardswish.default": (F.hardswish, -5, 5, [], TIGHT),
    "aten.hardtanh.default": (lambda x: F.hardtanh(x, -0.5, 1.0), -2, 2, [-0.5, 1.0], EXACT),
    "aten.hardtanh.default ints": (lambda x: F.hardtanh(x, 0, 6), -3, 9, [0, 6], EXACT),
    "aten.leaky_relu.default": (lambda x: F.leaky_relu(x, 0.2), -3, 3, [0.2], TIGHT),
    "aten.log10.default": (torch.log10, 0.001, 50, [], NORMAL),
    "aten.neg.default": (torch.neg, -5, 5, [], EXACT),
    "aten.relu.default": (F.relu, -2, 2, [], EXACT),
    "aten.round.default": (torch.round, -4, 4, [], EXACT),
    "aten.rsqrt.default": (torch.rsqrt, 0.01, 100, [], NORMAL),
    "aten.sigmoid.default": (torch.sigmoid, -100, 100, [], NORMAL),
    "aten.sin.default": (torch.sin, -math.pi, math.pi, [], TRIGONOMETRIC),
    "aten.sqrt.default": (torch.sqrt, 0, 100, [], NORMAL),
    "aten.tanh.default": (torch.tanh, -100, 100, [], NORMAL),
    "aten.clamp.default": (lambda x: x.clamp(-1, 0.5), -3, 3, [-1, 0.5], EXACT),
    "aten.clamp.default min": (lambda x: x.clamp(min=0.25), -3, 3, [0.25, None], EXACT),
    "aten.clamp.default max": (lambda x: x.clamp(max=0.25), -3, 3, [None, 0.25], EXACT),
    "aten.pow.Tensor_Scalar square": (lambda x: x**2, -9, 9, [2], NORMAL),
    "aten.pow.Tensor_Scalar cube": (lambda x: x**3, -9, 9, [3.0], NORMAL),
    "aten.pow.Tensor_Scalar root": (lambda x: x**0.5, 0.01, 9, [0.5], NORMAL),
    "aten.pow.Tensor_Scalar inverse": (lambda x: x**-1.5, 0.1, 9, [-1.5], SUMS),
}

BINARY: dict[str, tuple[Callable[..., torch.Tensor], list[Any], tuple[torch.dtype, ...]]] = {
    "aten.add.Tensor": (torch.add, [1], (F32, F16, I32, I64)),
    "aten.add.Tensor alpha": (lambda a, b: torch.add(a, b, alpha=-3), [-3], (F32, I32)),
    "aten.add.Tensor float": (lambda a, b: torch.add(a, b, alpha=0.25), [0.25], (F32, F16)),
    "aten.sub.Tensor": (torch.sub, [1], (F32, F16, I32, I64)),
    "aten.sub.Tensor alpha": (lambda a, b: torch.sub(a, b, alpha=2), [2], (F32, I32)),
    "aten.mul.Tensor": (torch.mul, [], (F32, F16, I32, I64)),
    "aten.div.Tensor": (torch.div, [], (F32, F16)),
    "aten.div.Tensor_mode floor": (
        lambda a, b: torch.div(a, b, rounding_mode="floor"),
        ["floor"],
        (F32, I32, I64),
    ),
    "aten.div.Tensor_mode trunc": (
        lambda a, b: torch.div(a, b, rounding_mode="trunc"),
        ["trunc"],
        (F32, I32, I64),
    ),
    "aten.minimum.default": (torch.minimum, [], (F32, F16, I32, I64)),
    "aten.pow.Tensor_Tensor": (torch.pow, [], (F32, I32)),
    "aten.eq.Tensor": (torch.eq, [], (F32, I32, I64)),
    "aten.lt.Tensor": (torch.lt, [], (F32, F16, I32, I64)),
    "aten.le.Tensor": (torch.le, [], (F32, F16, I32, I64)),
    "aten.gt.Tensor": (torch.gt, [], (F32, F16, I32, I64)),
    "aten.ge.Tensor": (torch.ge, [], (F32, F16, I32, I64)),
    "aten.bitwise_and.Tensor": (torch.bitwise_and, [], (BOOL,)),
    "aten.bitwise_or.Tensor": (torch.bitwise_or, [], (BOOL,)),
    "aten.logical_and.default": (torch.logical_and, [], (BOOL,)),
    "aten.logical_or.default": (torch.logical_or, [], (BOOL,)),
}

SCALAR_COMPARISONS = {
    "aten.eq.Scalar": torch.eq,
    "aten.ne.Scalar": torch.ne,
    "aten.lt.Scalar": torch.lt,
    "aten.le.Scalar": torch.le,
    "aten.gt.Scalar": torch.gt,
    "aten.ge.Scalar": torch.ge,
}

REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "aten.mean.dim": lambda x, d, k: x.mean(d, keepdim=k),
    "aten.sum.dim_IntList": lambda x, d, k: x.sum(d, keepdim=k),
    "aten.amax.default": lambda x, d, k: x.amax(d or (), keepdim=k),
    "aten.amin.default": lambda x, d, k: x.amin(d or (), keepdim=k),
}

SOFTMAX = {"aten._softmax.default": torch.softmax, "aten._log_softmax.default": torch.log_softmax}


def to_copy(g: Any, x: Any, dtype: torch.dtype, shape: Shape) -> Any:
    none = [None] * 4
    return g.call("aten._to_copy.default", x, *none, False, None, out=(dtype, shape))
