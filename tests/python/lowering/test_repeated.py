"""Programs are decomposed as torch does it, though calls like earlier ones are not traced again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from executorch.exir.tracer import _default_decomposition_table
from executorch_webgpu.decoders.lower import _capture
from executorch_webgpu.lowering import quick, quick_upstream
from executorch_webgpu.lowering.repeated import Repeating
from support.small_decoder import CONTEXT, small_decoder
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import Dim, ExportedProgram
from torch.fx.node import map_arg

LAYERS = 3


class Layers(nn.Module):
    """Layers that are alike: with views of several kinds, and something written."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(8, 8) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(LAYERS))
        self.dropout = nn.Dropout()
        for i in range(LAYERS):
            self.register_buffer(f"sum{i}", torch.zeros(8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for i in range(LAYERS):
            y = self.norms[i](self.linears[i](self.dropout(x)))
            left, right = y.relu_().chunk(2, 1)
            getattr(self, f"sum{i}").add_(y.sum(0))
            both = torch.einsum("ni,nj->nij", left, right).transpose(1, 2).reshape(-1, 16)
            x = x + both[:, :8] * both[:, 8:] * left.to(torch.float32).repeat(1, 2)
        return x, x.view(-1, 2, 4), y


class Written(nn.Module):
    """Of two calls that look the same, what one gives is written, or an operand is."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b, c = torch.einsum("ij->ji", x), torch.einsum("ij->ji", y), x.exp()
        b.mul_(2)
        d, e = y.exp(), (y * y).exp()
        e[0] = 1
        return a + 1, d, e, c, x * x + y * x + x * y + x.T @ x + y.T @ x


class Unchanged(nn.Module):
    """Calls that give their operand as it is, behind ones that are repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(4, 4) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for linear in self.linears:
            y = x.float()
            y = y * y.square().mean(-1, keepdim=True).rsqrt()
            x = x + linear(y.type_as(x))
        return x


class Sizes(nn.Module):
    """Numbers of a program's own, twice."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = []
        for z in (x, y, x + y):
            chosen = z[z > 0]
            count = z.shape[0] * 3
            parts += [chosen.exp(), z.new_zeros(count).cos(), z.reshape(-1).repeat(2).sin()]
        return tuple(parts)


def layers() -> ExportedProgram:
    shapes = ({0: Dim("batch", min=2, max=9)},)
    return torch.export.export(Layers().eval(), (torch.ones(3, 8),), dynamic_shapes=shapes)


def written() -> ExportedProgram:
    return torch.export.export(Written(), (torch.ones(3, 3), torch.ones(3, 3)))


def unchanged() -> ExportedProgram:
    return torch.export.export(Unchanged(), (torch.ones(3, 4),))


def sizes() -> ExportedProgram:
    batch = Dim("batch", min=2, max=9)
    shapes = ({0: batch}, {0: batch})
    inputs = (torch.ones(3, 4), torch.ones(3, 4))
    return torch.export.export(Sizes(), inputs, dynamic_shapes=shapes)


def decoder() -> ExportedProgram:
    with torch.no_grad():
        return _capture(small_decoder(), CONTEXT - 1)


def described(program: ExportedProgram) -> list[Any]:
    """Everything of a graph but its names, which have gaps where torch drops sizes."""
    places = {node: i for i, node in enumerate(program.graph.nodes)}
    storages: dict[int, int] = {}

    def value(x: Any) -> Any:
        if isinstance(x, FakeTensor):
            place = storages.setdefault(x.untyped_storage()._cdata, len(storages))
            numbers = (x.shape, x.stride(), x.storage_offset())
            return x.dtype, x.requires_grad, place, str(numbers)
        return [value(y) for y in x] if isinstance(x, list | tuple) else str(x)

    def meta(node: torch.fx.Node) -> Any:
        keys = ("nn_module_stack", "stack_trace", "original_aten", "torch_fn", "custom")
        return {key: str(node.meta.get(key)) for key in keys}

    return [
        (
            node.op,
            node.op == "placeholder" or str(node.target),
            # Asserts name others in what they say.
            re.sub(r"\bnode '\w+'", "", str(map_arg(operands(node), lambda n: f"%{places[n]}"))),
            value(node.meta.get("val")),
            meta(node),
        )
        for node in program.graph.nodes
    ]


def operands(node: torch.fx.Node) -> Any:
    return node.args, node.kwargs


def decomposed(make: Callable[[], ExportedProgram]) -> list[list[Any]]:
    functional = make().run_decompositions({})
    return [
        described(functional),
        described(functional.run_decompositions(_default_decomposition_table())),
    ]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("make", [layers, written, unchanged, sizes, decoder])
def test_graphs_are_torchs(
    make: Callable[[], ExportedProgram], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where repeating fails, which it does for none of these, they are traced as torch does."""

    def no(*_: Any, **__: Any) -> Any:
        raise RuntimeError("not as torch does")

    if fails:
        monkeypatch.setattr(Repeating, "run_node", no)
    else:
        monkeypatch.setattr(quick, "_traced_as_upstream", no)
    expected = decomposed(make)
    with quick_upstream():
        found = decomposed(make)
    for one, other in zip(expected, found, strict=True):
        for line, wanted in zip(other, one, strict=False):
            assert line == wanted
        assert len(one) == len(other)
