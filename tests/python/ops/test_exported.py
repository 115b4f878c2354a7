"""Through the real partitioner: what it serializes is what the hand-made graphs assume.

Each case is a group of functions of the same inputs, lowered together into one delegate, and run at
several live sizes. The operators that must be found in the delegate are listed with the case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from executorch.backends.vulkan.patterns import HfRotaryEmbeddingPattern, RotaryEmbeddingPattern
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from support.cases import EXACT, F16, I32, I64, SUMS, Arg, check_outputs, generator_for
from support.export import export_delegate
from torch.export import Dim

Function = Callable[..., torch.Tensor]


class Group(torch.nn.Module):
    """Several functions of the same inputs."""

    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(f(*inputs) for f in self.functions)


@dataclass
class Case:
    """Inputs are given at the recorded example; `live` are the sizes of each run."""

    functions: list[Function]
    inputs: list[Arg]
    operators: set[str]
    dynamic: list[dict[int, Any] | None] | None = None
    live: list[list[tuple[int, ...]]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)


S = Dim("s", min=1, max=9)
T = Dim("t", min=1, max=12)
ROWS = [[(n, 6), (n, 6)] for n in (9, 1, 5, 2, 9)]
ONE = [[(n, 4, 6)] for n in (9, 1, 4, 9, 2)]
BOTH = [{0: S}, {0: S}]

CASES: dict[str, Case] = {
    "unary": Case(
        [
            torch.abs,
            torch.exp,
            torch.cos,
            torch.sin,
            torch.tanh,
            torch.sigmoid,
            torch.relu,
            torch.round,
            torch.neg,
            F.gelu,
            lambda x: F.gelu(x, approximate="tanh"),
            F.silu,
            F.hardswish,
            lambda x: F.hardtanh(x, -0.5, 0.75),
            F.relu6,
            lambda x: F.leaky_relu(x, 0.1),
            lambda x: x.clamp(-1, 1),
            lambda x: x.clamp(min=0.5),
            lambda x: x.clamp(max=0.5),
            lambda x: x.abs().sqrt(),
            lambda x: (x.abs() + 0.5).rsqrt(),
            lambda x: (x.abs() + 0.5).log10(),
        ],
        [Arg((3, 4, 6))],
        {
            *(f"aten.{n}.default" for n in ("abs", "exp", "cos", "sin", "tanh", "sigmoid")),
            *(f"aten.{n}.default" for n in ("relu", "round", "neg", "gelu", "hardswish")),
            *(f"aten.{n}.default" for n in ("hardtanh", "leaky_relu", "clamp", "sqrt", "rsqrt")),
            "aten.log10.default",
        },
        [{0: S}],
        ONE,
    ),
    "binary": Case(
        [
            torch.add,
            lambda x, y: torch.add(x, y, alpha=2),
            torch.sub,
            lambda x, y: torch.sub(x, y, alpha=0.5),
            torch.mul,
            lambda x, y: x / (y.abs() + 1),
            lambda x, y: torch.div(x, y.abs() + 1, rounding_mode="floor"),
            lambda x, y: torch.div(x, y.abs() + 1, rounding_mode="trunc"),
            torch.minimum,
            lambda x, y: torch.pow(x.abs() + 0.1, y),
            lambda x, y: (x.abs() + 0.1) ** 2.5,
            lambda x, y: x**2,
            lambda x, y: 2 - x,
            lambda x, y: x * 0.5 + y,
            lambda x, y: x + 1,
            lambda x, y: x * y[:1],
            lambda x, y: x + y.transpose(0, 1)[:1].transpose(0, 1),
        ],
        [Arg((3, 6)), Arg((3, 6))],
        {
            *(f"aten.{n}.Tensor" for n in ("add", "sub", "mul", "div")),
            "aten.div.Tensor_mode",
            "aten.minimum.default",
            "aten.pow.Tensor_Tensor",
            "aten.pow.Tensor_Scalar",
            "aten._to_copy.default",
            "et_vk.prepack.default",
        },
        BOTH,
        ROWS,
    ),
    "integers": Case(
        [
            torch.add,
            torch.sub,
            lambda x, y: x * 3,
            lambda x, y: x // (y * y + 1),
            lambda x, y: torch.div(x, y * y + 1),
            lambda x, y: x.float() * 0.5,
            lambda x, y: x > 2,
            lambda x, y: x.to(torch.int32) * 2,
            lambda x, y: x.clamp(0, 3),
            torch.minimum,
            lambda x, y: x * 0.5,
            lambda x, y: x.bool(),
        ],
        [Arg((3, 6), I64, -9, 9), Arg((3, 6), I64, -9, 9)],
        {"aten.add.Tensor", "aten.div.Tensor_mode", "aten._to_copy.default", "aten.clamp.default"},
        BOTH,
        ROWS,
    ),
    "halves": Case(
        [
            torch.add,
            lambda x, y: x.float() + 1,
            lambda x, y: torch.softmax(x, -1),
            lambda x, y: x.to(torch.int32),
            lambda x, y: F.gelu(x) * y,
        ],
        [Arg((3, 6), F16), Arg((3, 6), F16)],
        {"aten.add.Tensor", "aten._to_copy.default", "aten._softmax.default"},
        BOTH,
        ROWS,
    ),
    "comparisons": Case(
        [
            torch.eq,
            torch.lt,
            torch.le,
            torch.gt,
            torch.ge,
            lambda x, y: x == 1,
            lambda x, y: x != 0.5,
            lambda x, y: x < 0.5,
            lambda x, y: x <= 0.5,
            lambda x, y: x > 0.5,
            lambda x, y: x >= 0.5,
            lambda x, y: torch.where(x > y, x, y),
            lambda x, y: (x > y) & (x < 1),
            lambda x, y: (x > y) | (x < 1),
            lambda x, y: ~(x > y),
            lambda x, y: torch.logical_and(x > y, x < 1),
            lambda x, y: torch.logical_or(x > y, x < 1),
            lambda x, y: torch.logical_not(x > y),
        ],
        [Arg((3, 6)), Arg((3, 6))],
        {
            *(f"aten.{n}.Tensor" for n in ("eq", "lt", "le", "gt", "ge")),
            *(f"aten.{n}.Scalar" for n in ("eq", "ne", "lt", "le", "gt", "ge")),
            "aten.where.self",
            "aten.bitwise_and.Tensor",
            "aten.bitwise_or.Tensor",
            "aten.bitwise_not.default",
            "aten.logical_and.default",
            "aten.logical_or.default",
            "aten.logical_not.default",
        },
        BOTH,
        ROWS,
    ),
    "rows": Case(
        [
            lambda x: torch.softmax(x, -1),
            lambda x: torch.log_softmax(x, 0),
            lambda x: torch.softmax(x.clamp(max=1.0), 1),
            lambda x: x.mean(-1),
            lambda x: x.mean(-1, keepdim=True),
            lambda x: x.sum(0, keepdim=True),
            lambda x: x.sum((0, 1), keepdim=True),
            lambda x: x.amax(-1, keepdim=True),
            lambda x: x.amin(-1),
            lambda x: x.argmax(-1),
            lambda x: x.argmin(-1, keepdim=True),
            lambda x: F.layer_norm(x, (6,)),
            lambda x: F.layer_norm(x, (6,), torch.ones(6), torch.ones(6), 1e-3),
            lambda x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * torch.ones(6),
        ],
        [Arg((3, 4, 6))],
        {
            "aten._softmax.default",
            "aten._log_softmax.default",
            "aten.mean.dim",
            "aten.sum.dim_IntList",
            "aten.amax.default",
            "aten.amin.default",
            "aten.argmax.default",
            "aten.argmin.default",
            "aten.native_layer_norm.default",
            "et_vk.rms_norm.default",
        },
        [{0: S}],
        ONE,
    ),
    "views": Case(
        [
            lambda x: x.view(-1, 24),
            lambda x: x.reshape(-1),
            lambda x: x.flatten(1),
            lambda x: x.unsqueeze(0),
            lambda x: x.unsqueeze(-1).unsqueeze(1),
            lambda x: x[:, 0:1].squeeze(1),
            lambda x: x.permute(2, 0, 1),
            lambda x: x.transpose(0, 1),
            lambda x: x.view(x.shape[0] * 4, 6),
            lambda x: x.view(x.shape[0], 2, 2, 6),
            lambda x: x.clamp(max=4.0).view(x.shape[0], 4, 3, 2),
        ],
        [Arg((3, 4, 6))],
        {
            "aten.view_copy.default",
            "aten.unsqueeze_copy.default",
            "aten.squeeze_copy.dims",
            "aten.permute_copy.default",
            "sym_size.int",
            "mul",
        },
        [{0: S}],
        ONE,
    ),
    "slices": Case(
        [
            lambda x: x[:, 1:3],
            lambda x: x[:, ::2],
            lambda x: x[-1],
            lambda x: x[:, -1],
            lambda x: x[:, 2],
            lambda x: x[..., -3:-1],
            lambda x: x[:, :, 1::3],
            lambda x: x[:, :100],
            lambda x: x.split([1, 2, 3], -1)[1],
            lambda x: torch.cat(x.chunk(3, -1), 1),
        ],
        [Arg((3, 4, 6))],
        {"aten.slice_copy.Tensor", "aten.select_copy.int", "aten.split_with_sizes_copy.default"},
        [{0: S}],
        ONE,
    ),
    "cat and expand": Case(
        [
            lambda x: torch.cat([x, x], 0),
            lambda x: torch.cat([x, x * 2, x], -1),
            lambda x: torch.stack([x, x + 1], 1),
            lambda x: torch.cat([x[:, :1], x[:, 1:]], 1),
            lambda x: x[:, :1].expand(-1, 4, -1) + x,
            lambda x: x.expand(2, -1, 4, 6),
            lambda x: x.repeat(1, 2, 1),
            lambda x: x.repeat_interleave(2, 1),
        ],
        [Arg((3, 4, 6))],
        {"aten.cat.default", "aten.expand_copy.default", "aten.repeat.default"},
        [{0: S}],
        ONE,
    ),
    "fills": Case(
        [
            lambda x: torch.full_like(x, 2.5) + x,
            lambda x: torch.zeros(x.shape[0], 3),
            lambda x: torch.arange(x.shape[0]),
            lambda x: torch.arange(0, x.shape[0], 1, dtype=torch.float32) * 2,
            lambda x: torch.full((x.shape[0], 2), -math.inf),
            lambda x: F.pad(x, (1, 2, 0, 1), value=1.5),
        ],
        [Arg((3, 4, 6))],
        {
            "aten.full_like.default",
            "aten.full.default",
            "aten.arange.start_step",
            "aten.constant_pad_nd.default",
        },
        [{0: S}],
        ONE,
    ),
    "gathering": Case(
        [
            lambda x, i: x[:, i],
            lambda x, i: x.index_select(1, i),
            lambda x, i: torch.gather(x, 1, i.view(1, -1, 1).expand(x.shape[0], -1, 6)),
            lambda x, i: x.flip(1),
        ],
        [Arg((3, 4, 6)), Arg((2,), I64, 0, 3)],
        {
            "aten.index.Tensor",
            "aten.index_select.default",
            "aten.gather.default",
            "aten.flip.default",
        },
        None,
        [[(3, 4, 6), (2,)]] * 3,
    ),
    "products": Case(
        [
            lambda x, y: torch.mm(x, y.t()),
            lambda x, y: torch.addmm(torch.mm(x, y.t()), x, y.t()),
            lambda x, y: F.linear(x, torch.linspace(-1, 1, 30).view(5, 6), torch.ones(5)),
            lambda x, y: x @ torch.linspace(-1, 1, 30).view(6, 5),
            lambda x, y: torch.addmm(torch.ones(5), x, torch.linspace(-1, 1, 30).view(6, 5)),
            lambda x, y: torch.bmm(x[None], y.t()[None]),
            lambda x, y: F.linear(x[None, None], torch.linspace(-1, 1, 30).view(5, 6)),
        ],
        [Arg((3, 6)), Arg((3, 6))],
        {"aten.linear.default", "aten.mm.default", "aten.bmm.default"},
        BOTH,
        ROWS,
    ),
    "rotary": Case(
        [
            lambda *x: torch.cat([t.flatten(2) for t in RotaryEmbeddingPattern()(*x)], -1),
            lambda *x: torch.cat([t.flatten(2) for t in torch.ops.et_vk.apply_rotary_emb(*x)], -1),
        ],
        [Arg((1, 3, 4, 8)), Arg((1, 3, 2, 8)), Arg((3, 4)), Arg((3, 4))],
        {"et_vk.apply_rotary_emb.default"},
        [{1: S}, {1: S}, {0: S}, {0: S}],
        [[(1, n, 4, 8), (1, n, 2, 8), (n, 4), (n, 4)] for n in (9, 1, 4, 9)],
    ),
    "interleaved rotary": Case(
        [
            torch.ops.et_vk.apply_rotary_emb_interleaved,
            lambda x, c: x * 2,
        ],
        [Arg((2, 5, 8)), Arg((1, 5, 4, 2))],
        {"et_vk.apply_rotary_emb_interleaved.default"},
        None,
        [[(2, 5, 8), (1, 5, 4, 2)]] * 2,
    ),
    "attention": Case(
        [
            lambda q, k, v, m: torch.ops.et_vk.sdpa(q, k, v),
            lambda q, k, v, m: torch.ops.et_vk.sdpa(q, k, v, m, 0.3),
        ],
        [Arg((1, 2, 3, 8)), Arg((1, 2, 5, 8)), Arg((1, 2, 5, 8)), Arg((3, 5))],
        {"et_vk.sdpa.default"},
        [{2: S}, {2: T}, {2: T}, {0: S, 1: T}],
        [
            [(1, 2, s, 8), (1, 2, t, 8), (1, 2, t, 8), (s, t)]
            for s, t in ((9, 12), (1, 12), (1, 1), (5, 7), (9, 3))
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_group(name: str) -> None:
    case = CASES[name]
    module = Group(case.functions)
    generator = generator_for("exported", name)
    example = [a.sample(generator) for a in case.inputs]
    dynamic = None if case.dynamic is None else (tuple(case.dynamic),)
    delegate = export_delegate(module, example, dynamic)
    assert case.operators <= set(delegate.operators), delegate.describe()
    with delegate.load() as loaded:
        for shapes in case.live:
            inputs = [a.sample(generator, s) for a, s in zip(case.inputs, shapes, strict=True)]
            expected = list(module(*inputs))
            got = loaded.run(*inputs)
            for i, (g, e) in enumerate(zip(got, expected, strict=True)):
                check_outputs([g], [e], SUMS, f"{name}[{i}] at {shapes}")


# --- Modules with weights and state -------------------------------------------------------------


class Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(11, 8)
        self.norm = torch.nn.LayerNorm(8)
        self.up = torch.nn.Linear(8, 33)
        self.down = torch.nn.Linear(33, 5, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down(F.silu(self.up(self.norm(self.embed(tokens)))))
        return out


def test_layers_with_weights() -> None:
    module = Layers()
    delegate = export_delegate(module, (torch.zeros(2, 4, dtype=I64),), ({0: S, 1: T},))
    wanted = {"aten.embedding.default", "aten.linear.default", "aten.native_layer_norm.default"}
    assert wanted <= set(delegate.operators), delegate.describe()
    with delegate.load() as loaded, torch.no_grad():
        for b, n in ((9, 12), (1, 1), (3, 5), (9, 1), (1, 12)):
            tokens = torch.randint(0, 11, (b, n), generator=generator_for(b, n))
            check_outputs(loaded.run(tokens), [module(tokens)], SUMS, f"{b} by {n} tokens")


class Attention(torch.nn.Module):
    """One attention over a custom KV cache, as upstream's transforms spell it."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.context = context
        self.register_buffer("k", torch.zeros(1, context, 2, 8))
        self.register_buffer("v", torch.zeros(1, context, 2, 8))

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < self.context)
        torch.ops.llama.update_cache(k, self.k, at)
        torch.ops.llama.update_cache(v, self.v, at)
        out: torch.Tensor = torch.ops.llama.custom_sdpa(q, self.k, self.v, at, None, 0.0, True)
        return out


class Update(Attention):
    """The caches alone: the partitioner keeps update_cache where no attention follows."""

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        at = position[0].item()
        torch._check(at >= 0)
        torch._check(at < self.context)
        torch.ops.llama.update_cache(k, self.k, at)
        torch.ops.llama.update_cache(v, self.v, at)
        return q + self.k[:, :1, :1] + self.v[:, 1:2, 1:]


CALLS = ((0, 9), (9, 1), (10, 3), (13, 1), (0, 1), (1, 5), (0, 4))


@pytest.mark.parametrize("kind", [Attention, Update])
def test_cache(kind: type[Attention]) -> None:
    module = kind(16)
    example = (torch.zeros(1, 3, 4, 8), *(torch.zeros(1, 3, 2, 8) for _ in range(2)), ZERO)
    delegate = export_delegate(module, example, ({1: S}, {1: S}, {1: S}, None))
    wanted = "sdpa_with_kv_cache.default" if kind is Attention else "update_cache.default"
    assert wanted in delegate.operators, delegate.describe()
    reference = kind(16)
    generator = generator_for("cache")
    with delegate.load() as loaded:
        for at, s in CALLS:
            q, k, v = (torch.randn(1, s, h, 8, generator=generator) for h in (4, 2, 2))
            position = torch.tensor([at])
            expected = reference(q, k, v, position)
            check_outputs(loaded.run(q, k, v, position), [expected], SUMS, f"{s} rows at {at}")


ZERO = torch.tensor([0])


class Rotary(torch.nn.Module):
    """Rotary embedding with tables sliced at a live position."""

    def __init__(self, half_split: bool) -> None:
        super().__init__()
        width = 8 if half_split else 4
        generator = generator_for("tables")
        self.pattern = HfRotaryEmbeddingPattern() if half_split else RotaryEmbeddingPattern()
        self.register_buffer("cos", torch.rand(16, width, generator=generator))
        self.register_buffer("sin", torch.rand(16, width, generator=generator))

    def forward(self, q: torch.Tensor, k: torch.Tensor, position: torch.Tensor) -> Any:
        at = position[0].item()
        n = q.shape[1]
        torch._check(at >= 0)
        torch._check(at < 16)
        torch._check(at + n <= 16)
        return self.pattern(q, k, self.cos.narrow(0, at, n), self.sin.narrow(0, at, n))


@pytest.mark.parametrize("half_split", [False, True])
def test_rotary_at_a_live_position(half_split: bool) -> None:
    module = Rotary(half_split)
    example = (torch.zeros(1, 3, 4, 8), torch.zeros(1, 3, 2, 8), torch.tensor([2]))
    delegate = export_delegate(module, example, ({1: S}, {1: S}, None))
    name = "apply_rotary_emb_hf" if half_split else "apply_rotary_emb"
    assert f"et_vk.{name}.default" in delegate.operators, delegate.describe()
    generator = generator_for("rotary")
    with delegate.load() as loaded:
        for at, n in ((0, 9), (7, 9), (3, 1), (4, 1), (15, 1), (0, 4)):
            q, k = (torch.randn(1, n, h, 8, generator=generator) for h in (4, 2))
            position = torch.tensor([at])
            got = loaded.run(q, k, position)
            check_outputs(got, module(q, k, position), SUMS, f"{n} rows at {at}")


class Quantized(torch.nn.Module):
    """A 4-bit embedding and a 4-bit linear, as torchao's affine form spells them."""

    def __init__(self) -> None:
        super().__init__()
        import torchao.quantization.quant_primitives  # noqa: F401

        generator = generator_for("quantized")
        for name, rows in (("table", 50), ("matrix", 40)):
            values = torch.randint(-8, 8, (rows, 64), generator=generator).to(torch.int8)
            scales = torch.rand(rows, 2, generator=generator) * 0.1
            self.register_buffer(name, values)
            self.register_buffer(f"{name}_scales", scales)
            self.register_buffer(f"{name}_zeros", torch.zeros(rows, 2, dtype=torch.int8))
        self.bias = torch.nn.Parameter(torch.randn(40, generator=generator))

    def weight(self, name: str) -> torch.Tensor:
        parts = (getattr(self, f"{name}_scales"), getattr(self, f"{name}_zeros"))
        weight: torch.Tensor = torch.ops.torchao.dequantize_affine(
            getattr(self, name), (1, 32), *parts, torch.int8, -8, 7
        )
        return weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = F.embedding(tokens, self.weight("table"))
        return F.linear(hidden, self.weight("matrix")) + self.bias


def test_quantized_weights() -> None:
    module = Quantized()
    delegate = export_delegate(module, (torch.zeros(1, 3, dtype=I64),), ({1: S},))
    names = ("embedding_q4gsw", "linear_q4gsw")
    assert {f"et_vk.{n}.default" for n in names} <= set(delegate.operators), delegate.describe()
    reference = Quantized()  # the partitioner packs the exported module's own tensors
    with delegate.load() as loaded, torch.no_grad():
        for n in (9, 1, 4, 9):
            tokens = torch.randint(0, 50, (1, n), generator=generator_for(n))
            check_outputs(loaded.run(tokens), [reference(tokens)], SUMS, f"{n} tokens")


class DynamicallyQuantized(torch.nn.Module):
    """A 4-bit linear over rows in 8 bits, as torchao spells dynamic quantization."""

    def __init__(self) -> None:
        super().__init__()
        self.quantized = Quantized()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        block, kind = [1] * (x.dim() - 1) + [x.shape[-1]], (torch.int8, -128, 127)
        scale, zero = torch.ops.torchao.choose_qparams_affine(
            x, "ASYMMETRIC", block, *kind, None, None, torch.int8
        )
        stored = torch.ops.torchao.quantize_affine(x, block, scale, zero, *kind)
        taken = torch.ops.torchao.dequantize_affine(stored, block, scale, zero, *kind)
        return F.linear(taken, self.quantized.weight("matrix"), self.quantized.bias)


@pytest.mark.parametrize("outer", [(), (1,)])
def test_quantized_activations(outer: tuple[int, ...]) -> None:
    module = DynamicallyQuantized()
    example = torch.randn(*outer, 3, 64)
    delegate = export_delegate(module, (example,), ({len(outer): S},))
    assert "et_vk.linear_dq8ca_q4gsw.default" in delegate.operators, delegate.describe()
    reference = DynamicallyQuantized()
    with delegate.load() as loaded, torch.no_grad():
        for n in (9, 1, 4, 9):
            x = torch.randn(*outer, n, 64, generator=generator_for(n))
            check_outputs(loaded.run(x), [reference(x)], SUMS, f"{n} rows")


def test_dim_order_copies() -> None:
    """What exports with dim order operators, executorch's default, are made of."""
    module = Group([lambda x: x.to(I32) + 1, lambda x: x.clone() * 2])
    delegate = export_delegate(module, (torch.rand(3, 4),), (({0: S},),), dim_order=True)
    assert any(n.startswith("dim_order_ops.") for n in delegate.operators), delegate.describe()
    with delegate.load() as loaded:
        for n in (9, 1, 4):
            x = 10 * torch.rand(n, 4, generator=generator_for(n))
            check_outputs(loaded.run(x), list(module(x)), EXACT, f"{n} rows")
