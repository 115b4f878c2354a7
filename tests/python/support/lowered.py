"""Modules lowered with executorch_webgpu.lowering, beside eager PyTorch over several steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from executorch_webgpu.lowering import lower_program, quiet_upstream
from torch import Tensor, nn

from . import export as _faster_lowering  # noqa: F401  caches the partitioner's pattern graphs
from .stock import Program

Forward = Callable[..., Any]


class Stated(nn.Module):
    """`forward` as a function of the module and the inputs, over buffers."""

    def __init__(self, forward: Forward, **buffers: Tensor) -> None:
        super().__init__()
        self.function = forward
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=not name.startswith("passing"))

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Within(nn.Module):
    """A method over the state of another module."""

    def __init__(self, state: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.state, self.function = state, forward

    def forward(self, *inputs):
        return self.function(self.state, *inputs)


def graph_of(module: nn.Module, inputs: Sequence[Any], dynamic_shapes: Any = None):
    with quiet_upstream(), torch.no_grad():
        return torch.export.export(
            module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes, strict=False
        )


def lowered(methods: Any, *, consecutive: Collection[str] = (), **options: Any) -> Program:
    with quiet_upstream(), torch.no_grad():
        return Program(bytes(lower_program(methods, options, consecutive=consecutive).buffer))


def follows_eager(
    module: nn.Module,
    *steps: Sequence[Any],
    dynamic_shapes: Any = None,
    consecutive: Collection[str] = (),
) -> None:
    """Lower `module` and call it with each of `steps`, the first of which is the example."""
    eager = copy.deepcopy(module)
    graph = graph_of(module, steps[0], dynamic_shapes)
    program = lowered(graph, consecutive=consecutive)
    for number, inputs in enumerate(steps):
        compare(program(*inputs), eager(*_fresh(inputs)), f"step {number}")


def methods_follow_eager(
    state: Callable[[], nn.Module],
    methods: Mapping[str, Forward],
    calls: Sequence[str],
    inputs: Callable[[int], Sequence[Any]],
) -> None:
    """Lower methods over one `state` and call them in turn."""
    shared, eager = state(), state()
    program = lowered({m: graph_of(Within(shared, f), inputs(0)) for m, f in methods.items()})
    for number, name in enumerate(calls):
        expected = methods[name](eager, *_fresh(inputs(number)))
        compare(program.run(name, *inputs(number)), expected, f"call {number}, {name}")


def compare(got: Sequence[Any], expected: Any, where: str) -> None:
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    assert len(got) == len(expected), where
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(
            g, e, rtol=1e-5, atol=1e-5, msg=lambda text, i=i: f"{where}, output {i}: {text}"
        )


def _fresh(inputs: Sequence[Any]) -> list[Any]:
    return [x.clone() if isinstance(x, Tensor) else x for x in inputs]
