"""Constants that are parts of larger tensors, or of one."""

from __future__ import annotations

import copy

import pytest
import torch
from executorch_webgpu.lowering import LoweringError, lower_program, quiet_upstream
from support.lowered import Stated, follows_eager, graph_of
from torch import nn

TABLE = torch.arange(48.0)
VIEWS = {
    "the end": TABLE[44:],
    "the beginning": TABLE[:4],
    "a row": TABLE.reshape(12, 4)[7],
    "a column": TABLE.reshape(4, 12)[:, 5],
    "every other": TABLE[1:9:2],
    "transposed": TABLE[16:32].reshape(4, 4).t(),
    "expanded": TABLE[5].expand(4),
    "f16": TABLE.half()[8:12],
    "integers": TABLE.int()[3:7],
    "long integers": TABLE.long()[3:7],
    "flags": (TABLE > 5)[4:8],
    "nothing": TABLE[3:3].reshape(0, 4),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_stored_alone(name):
    module = Stated(lambda s, x: x + s.c, c=VIEWS[name])
    follows_eager(module, (torch.randn(4),))


def test_views_of_one_tensor():
    module = Stated(
        lambda s, x: x * s.a + s.passing + s.b, a=TABLE[4:8], b=TABLE[5:9], passing=TABLE[40:44]
    )
    module.plain = TABLE[9:13]  # no buffer
    module.function = lambda s, x: x * s.a + s.passing + s.b * s.plain
    follows_eager(module, (torch.randn(4),))


class Parts(nn.Module):
    """Layers whose weights are views of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(3, 8, 8)
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(3))
        for layer, part in zip(self.layers, whole, strict=True):
            layer.weight = nn.Parameter(part)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_parameters_that_are_views():
    follows_eager(Parts(), (torch.randn(2, 8),))


def test_the_module_keeps_its_tensors():
    module = Parts()
    before = [layer.weight.data_ptr() for layer in module.layers]
    graph = graph_of(module, (torch.randn(2, 8),))
    with quiet_upstream():
        lower_program(graph)
    assert [layer.weight.data_ptr() for layer in module.layers] == before
    assert graph.state_dict["layers.1.weight"].storage_offset() == 64


class Tied(nn.Module):
    def __init__(self, view: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 64)
        self.out = nn.Linear(64, 500, bias=False)
        if view:
            self.table.weight = nn.Parameter(torch.randn(600, 64)[100:])
        self.out.weight = self.table.weight

    def forward(self, tokens):
        return self.out(self.table(tokens))


@pytest.mark.parametrize("view", [False, True])
def test_tied_weights_are_stored_once(view):
    module = Tied(view)
    tokens = torch.tensor([[3, 499, 0]])
    with quiet_upstream(), torch.no_grad():
        assert len(lower_program(graph_of(module, (tokens,))).buffer) < 1.5 * 500 * 64 * 4
        follows_eager(copy.deepcopy(module), (tokens,))


def test_a_state_in_the_memory_of_a_constant_is_refused():
    base = torch.zeros(8)
    module = Stated(lambda s, x: s.a.add_(x) + s.b, a=base[:4], b=base[2:6])
    with pytest.raises(LoweringError, match=r"'a' is written, and 'b' .* same memory"):
        lower_program(graph_of(module, (torch.zeros(4),)))
