"""Exports take a fraction of upstream's time, and give the bytes that upstream gives."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from executorch.exir import ExecutorchProgramManager
from executorch.exir.pass_base import _ExportPassBase
from executorch_webgpu.decoders.lower import lower
from executorch_webgpu.lowering import lower_program, quick, quick_upstream
from executorch_webgpu.lowering.compiled import Compiling
from executorch_webgpu.lowering.matching import connected
from executorch_webgpu.lowering.quick import Part, replaced
from executorch_webgpu.lowering.signatures import TABLES
from support.small_decoder import CONTEXT, small_decoder
from torch import fx, nn
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.passes.utils.matcher_utils import SubgraphMatcher


def decoder() -> ExecutorchProgramManager:
    return lower(small_decoder(), CONTEXT, {}, lambda *_: None)


class Counting(nn.Module):
    """Sizes, integers, a state, and what is left to ExecuTorch's kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.register_buffer("calls", torch.zeros(1))
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.rand(parameter.shape, generator=generator)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.calls.add_(1)
        y = self.convolution(x).relu()
        z = nn.functional.hardswish(y).flatten(1)
        return z @ z.T + self.calls, y.double().cumsum(1), y.split(4, 1)[1], z.argmax(1)


def network() -> ExecutorchProgramManager:
    batch = torch.export.Dim("batch", min=2, max=7)
    inputs = (torch.zeros(3, 3, 8, 8),)
    graph = torch.export.export(Counting().eval(), inputs, dynamic_shapes=({0: batch},))
    return lower_program(graph)


@pytest.mark.parametrize("make", [decoder, network], ids=["decoder", "network"])
def test_bytes_are_upstreams(
    make: Callable[[], ExecutorchProgramManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = make().buffer
    monkeypatch.setattr(quick, "_parts", lambda *_: [])
    assert make().buffer == quickly


def test_every_part_has_its_function() -> None:
    parts = quick._parts(lambda share: None, Compiling())
    assert [part.name for part in parts if not part.fits()] == []


@pytest.mark.parametrize("parameters", ["self y", "self x more", "self", None])
def test_what_upstream_changed_is_left_alone(parameters: str | None) -> None:
    owner = SimpleNamespace(f=lambda self, x: None)
    assert not quick.Part(owner, "f", parameters, lambda f: f).fits()
    assert not quick.Part(owner, "g", parameters or "self", lambda f: f).fits()


def test_upstream_is_itself_again_afterwards() -> None:
    before = _ExportPassBase._fx
    with pytest.raises(ValueError, match="inside"), quick_upstream(), quick_upstream():
        assert _ExportPassBase._fx is not before
        raise ValueError("inside")
    assert _ExportPassBase._fx is before


# --- The parts that stand for one function each ---


def doubled() -> fx.GraphModule:
    return fx.symbolic_trace(lambda x: x * 2)


def grow(module: fx.GraphModule) -> None:
    """Make what it computes one more, without telling it so."""
    result = module.graph.output_node().args[0]
    assert isinstance(result, fx.Node)
    with module.graph.inserting_after(result):
        more = module.graph.call_function(operator.add, (result, 1))
    module.graph.output_node().args = (more,)


def test_code_is_of_the_graph_when_it_was_compiled_last() -> None:
    with quick_upstream():
        module = doubled()
        grow(module)
        module.recompile()
        assert "_code" not in module.__dict__
        assert list(inspect.signature(module.forward).parameters) == ["x"]
        assert module(3) == 7
        grow(module)
        assert module(3) == 7
        module.recompile()
        assert module.code.count("+ 1") == 2
        assert module(3) == 8
        waiting = doubled()
    assert "x * 2" in waiting.__dict__["_code"]
    assert pickle.loads(pickle.dumps(waiting))(3) == 6


def test_a_copy_of_what_waits_is_compiled_too() -> None:
    with quick_upstream():
        copied = copy.deepcopy(doubled())
        assert copied(3) == 6


def signature() -> ExportGraphSignature:
    names = ("a", "b", "c")
    inputs = [InputSpec(InputKind.BUFFER, TensorArgument(n), f"of.{n}", True) for n in names]
    return ExportGraphSignature(inputs, [])


def change_target(given: ExportGraphSignature) -> None:
    given.input_specs[1].target = "other"


def change_name(given: ExportGraphSignature) -> None:
    given.input_specs[1].arg.name = "other"  # type: ignore[union-attr]


def change_kind(given: ExportGraphSignature) -> None:
    given.input_specs[1].kind = InputKind.PARAMETER


def drop(given: ExportGraphSignature) -> None:
    del given.input_specs[1]


def replace(given: ExportGraphSignature) -> None:
    given.input_specs[1] = InputSpec(InputKind.BUFFER, TensorArgument("b"), "other", True)


def write(given: ExportGraphSignature) -> None:
    given.output_specs.append(OutputSpec(OutputKind.BUFFER_MUTATION, TensorArgument("x"), "of.a"))


@pytest.mark.parametrize("change", [change_target, change_name, change_kind, drop, replace, write])
def test_tables_are_of_the_signature_as_it_is(
    change: Callable[[ExportGraphSignature], None],
) -> None:
    def tables(given: ExportGraphSignature) -> list[dict[str, str]]:
        return [dict(getattr(given, name)) for name in TABLES]

    expected = signature()
    change(expected)
    with quick_upstream():
        given = signature()
        assert tables(given) != tables(expected)
        assert given.inputs_to_buffers is given.inputs_to_buffers
        change(given)
        found = tables(given)
    assert found == tables(expected)


class Rotated(nn.Module):
    """Pairs of results with a number in common, of which some have none with each other."""

    def forward(self, *x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out: list[torch.Tensor] = []
        for i in range(0, 6, 3):
            angle = x[i + 2].cos()
            out += [(x[i] * angle).relu(), (x[i + 1] * angle).relu(), (x[i] * x[i + 1]).relu()]
        return *out, out[0].relu(), (out[1] * out[2]).relu()


class Pair(nn.Module):
    def forward(self, *x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        angle = x[2].cos()
        return (x[0] * angle).relu(), (x[1] * angle).relu()


def test_patterns_are_found_where_upstream_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = tuple(torch.ones(6, 2))
    graph = torch.export.export(Rotated(), numbers).graph
    pattern = torch.export.export(Pair(), numbers[:3]).graph
    compared = 0
    upstream = SubgraphMatcher._match_nodes

    def counted(*operands: Any) -> bool:
        nonlocal compared
        compared += 1
        return upstream(*operands)

    monkeypatch.setattr(SubgraphMatcher, "_match_nodes", counted)

    def found() -> list[dict[str, str]]:
        matches = SubgraphMatcher(pattern, ignore_literals=True).match(graph)
        return [{p.name: n.name for p, n in m.nodes_map.items()} for m in matches]

    expected, slowly, compared = found(), compared, 0
    matcher = (SubgraphMatcher, "_match_nodes", "operands", connected)
    with replaced([Part(*matcher)]):
        assert found() == expected
    assert len(expected) == 2
    assert compared < slowly
