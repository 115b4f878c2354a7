"""Graphs of one operator that benchmarks/kernel.py times, by short names, with what they compute.

Bytes are those that lie on the GPU and must be read or written at least once: 4 for an element of
an activation whatever its dtype, and weights as they are packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from support.delegate import GraphBuilder, Value

GROUP = 32  # 4-bit weights that share a scale

Sizes = tuple[int, ...]
Tensors = Sequence[Sizes]


@dataclass(frozen=True)
class Work:
    """The least that one call has to do; operations are 0 where they do not count."""

    bytes: int
    operations: int = 0


@dataclass(frozen=True)
class Call:
    """What a case builds from: sizes of its tensors as given, and what was said with options."""

    tensors: Tensors
    dtype: torch.dtype
    args: Sequence[Any]
    graph: GraphBuilder = field(default_factory=GraphBuilder)
    inputs: list[torch.Tensor] = field(default_factory=list)

    @property
    def sizes(self) -> Sizes:
        return self.tensors[0]

    def input(self, sizes: Sequence[int]) -> Value:
        """A graph input, and numbers from -2 to 2 for it."""
        self.inputs.append((torch.rand(sizes) * 4 - 2).to(self.dtype))
        return self.graph.input(self.dtype, sizes)

    def call(self, operator: str, *args: Any, sizes: Sequence[int]) -> Value:
        value = self.graph.call(operator, *args, out=(self.dtype, sizes))
        assert isinstance(value, Value)
        return value


@dataclass(frozen=True)
class Case:
    """An operator that has a short name.

    Attributes:
        operator: as programs name it.
        form: how sizes are written, a letter for each; "..." for any number of them.
        sizes: what is measured when none are given.
        args: arguments behind the tensors when none are given.
        build: from the call to its outputs.
        work: of the sizes of all tensors.
    """

    operator: str
    form: str
    sizes: str
    build: Callable[[Case, Call], list[Value]]
    work: Callable[[Tensors], Work]
    args: Sequence[Any] = ()


# --- Linear layers, x [M, K] and weight [N, K] ---


def _linear(case: Case, c: Call, *weight: Any) -> list[Value]:
    m, k, n = c.sizes
    return [c.call(case.operator, c.input((m, k)), *weight, sizes=(m, n))]


def _linear_float(case: Case, c: Call) -> list[Value]:
    _, k, n = c.sizes
    return _linear(case, c, c.graph.constant(torch.randn(n, k).to(c.dtype)), None)


def _linear_4bit(case: Case, c: Call) -> list[Value]:
    _, k, n = c.sizes
    weight = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
    scales = torch.rand(k // GROUP, n).to(c.dtype)
    return _linear(case, c, c.graph.constant(weight), c.graph.constant(scales), GROUP, None)


def _linear_8bit(case: Case, c: Call) -> list[Value]:
    _, k, n = c.sizes
    weight = torch.randint(-128, 128, (n, k), dtype=torch.int8)
    return _linear(case, c, c.graph.constant(weight), c.graph.constant(torch.rand(n).to(c.dtype)))


def _linear_work(weight_bytes: float) -> Callable[[Tensors], Work]:
    def work(tensors: Tensors) -> Work:
        m, k, n = tensors[0]
        return Work(4 * (m * k + m * n) + round(weight_bytes * n * k), 2 * m * n * k)

    return work


# --- Products of activations and attention ---


def _matmul(case: Case, c: Call) -> list[Value]:
    b, m, k, n = c.sizes
    left, right = c.input((b, m, k)), c.input((b, k, n))
    return [c.call(case.operator, left, right, sizes=(b, m, n))]


def _matmul_work(tensors: Tensors) -> Work:
    b, m, k, n = tensors[0]
    return Work(4 * b * (m * k + k * n + m * n), 2 * b * m * n * k)


def _attention(case: Case, c: Call) -> list[Value]:
    """The new keys and values come behind CONTEXT others in a cache that then is full."""
    tokens, heads, kv_heads, width, context = c.sizes
    q = c.input((1, tokens, heads, width))
    k, v = (c.input((1, tokens, kv_heads, width)) for _ in range(2))
    # Of random keys: equal constants would be one.
    caches = [
        c.graph.constant(torch.rand(1, context + tokens, kv_heads, width).to(c.dtype))
        for _ in range(2)
    ]
    args = (q, k, v, *caches, context, 1, None, 0.0, True, None)
    return [c.call(case.operator, *args, sizes=(1, tokens, heads, width))]


def _attention_work(tensors: Tensors) -> Work:
    tokens, heads, kv_heads, width, context = tensors[0]
    # Each query sees the context, those before it and itself; a product for q k, one for p v.
    seen = tokens * context + tokens * (tokens + 1) // 2
    cache = 2 * kv_heads * width * (context + tokens)
    return Work(4 * (2 * tokens * heads * width + cache), 4 * heads * width * seen)


# --- Norms ---


def _rms_norm(case: Case, c: Call) -> list[Value]:
    weight = c.graph.constant(torch.rand(c.sizes[-1]).to(c.dtype))
    return [c.call(case.operator, c.input(c.sizes), weight, *c.args, sizes=c.sizes)]


def _layer_norm(case: Case, c: Call) -> list[Value]:
    n = c.sizes[-1]
    affine = (c.graph.constant(torch.rand(n).to(c.dtype)) for _ in range(2))
    rows = (*c.sizes[:-1], 1)
    specs = [(c.dtype, c.sizes), (c.dtype, rows), (c.dtype, rows)]
    args = (c.input(c.sizes), [n], *affine, *c.args)
    return list(c.graph.call(case.operator, *args, out=specs))


# --- Whatever takes tensors and then numbers: the output has the broadcast sizes ---


def _broadcast(tensors: Tensors) -> Sizes:
    meta = [torch.empty(sizes, device="meta") for sizes in tensors]
    return tuple(sum(meta, torch.empty((), device="meta")).shape)


def _plain(case: Case, c: Call) -> list[Value]:
    inputs = [c.input(sizes) for sizes in c.tensors]
    return [c.call(case.operator, *inputs, *c.args, sizes=_broadcast(c.tensors))]


def _pair(case: Case, c: Call) -> list[Value]:
    """Of two tensors, of the same sizes unless both are given."""
    tensors = c.tensors if len(c.tensors) > 1 else (c.sizes, c.sizes)
    return _plain(case, replace(c, tensors=tensors))


def _reduction(case: Case, c: Call) -> list[Value]:
    """Over the dimensions that are the first argument, which are kept."""
    kept = list(c.sizes)
    for dim in c.args[0]:
        kept[dim] = 1
    return [c.call(case.operator, c.input(c.sizes), *c.args, sizes=kept)]


def _moved(copies: int) -> Callable[[Tensors], Work]:
    """The first tensor's elements, each read or written so many times."""
    return lambda tensors: Work(4 * copies * math.prod(tensors[0]))


def _pair_work(tensors: Tensors) -> Work:
    both = tensors if len(tensors) > 1 else (*tensors, *tensors)
    return Work(4 * sum(math.prod(sizes) for sizes in (*both, _broadcast(both))))


ROWS = "128x4096"
LAYER = "1x2048x8192,128x2048x8192"

CASES: dict[str, Case] = {
    "linear": Case("aten.linear.default", "MxKxN", LAYER, _linear_float, _linear_work(4)),
    "linear4": Case(
        "et_vk.linear_q4gsw.default", "MxKxN", LAYER, _linear_4bit, _linear_work(0.5 + 4 / GROUP)
    ),
    "linear8": Case(
        "aten._weight_int8pack_mm.default", "MxKxN", LAYER, _linear_8bit, _linear_work(1)
    ),
    "matmul": Case("aten.bmm.default", "BxMxKxN", "8x256x256x256", _matmul, _matmul_work),
    "attention": Case(
        "sdpa_with_kv_cache.default",
        "TOKENSxHEADSxKV_HEADSxWIDTHxCONTEXT",
        "1x32x8x64x2000,128x32x8x64x0",
        _attention,
        _attention_work,
    ),
    "rms_norm": Case("et_vk.rms_norm.default", "...xN", ROWS, _rms_norm, _moved(2), (1e-5,)),
    "layer_norm": Case(
        "aten.native_layer_norm.default", "...xN", ROWS, _layer_norm, _moved(2), (1e-5,)
    ),
    "softmax": Case("aten._softmax.default", "...", ROWS, _plain, _moved(2), (-1, False)),
    "add": Case("aten.add.Tensor", "...[+...]", ROWS, _pair, _pair_work, (1,)),
    "mul": Case("aten.mul.Tensor", "...[+...]", ROWS, _pair, _pair_work),
    "gelu": Case("aten.gelu.default", "...", ROWS, _plain, _moved(2), ("none",)),
    "silu": Case("aten.silu.default", "...", ROWS, _plain, _moved(2)),
    "exp": Case("aten.exp.default", "...", ROWS, _plain, _moved(2)),
    "sum": Case("aten.sum.dim_IntList", "...", ROWS, _reduction, _moved(1), ([-1], True, None)),
    "mean": Case("aten.mean.dim", "...", ROWS, _reduction, _moved(1), ([-1], True, None)),
    "amax": Case("aten.amax.default", "...", ROWS, _reduction, _moved(1), ([-1], True)),
}


def find_case(name: str) -> Case:
    """The case of a short name or an operator's; any other operator gets tensors, then --args."""
    if name in CASES:
        return CASES[name]
    for case in CASES.values():
        if case.operator == name:
            return case
    return Case(name, "...[+...]", ROWS, _plain, lambda _: Work(0))
