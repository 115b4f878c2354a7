"""The harness itself: what it writes is what the wheel reads, and what upstream would write."""

from __future__ import annotations

import torch
from executorch.backends.vulkan.serialization import vulkan_graph_schema as schema
from support.delegate import SYMINT, GraphBuilder
from support.export import decode_graph, export_delegate


def test_every_kind_of_value_comes_back() -> None:
    g = GraphBuilder()
    x = g.input(torch.float32, (9, 4))
    w = g.constant(torch.arange(4, dtype=torch.int64))
    size = g.call("sym_size.int", x, 0, out=SYMINT)
    args = (x, None, True, 7, 0.5, "tanh", [1, 2], [0.5], [True], [size, 4], [x, w])
    g.output(*g.call("made.up", *args, out=[(torch.float16, (9,)), (torch.bool, ())]))
    graph = decode_graph(g.delegate().blob)
    call = graph.chain[1]
    kinds = [graph.values[i].value for i in call.args]
    assert call.name == "made.up"
    assert kinds[1:6] == [
        schema.Null(),
        schema.Bool(True),
        schema.Int(7),
        schema.Double(0.5),
        schema.String("tanh"),
    ]
    assert kinds[6:9] == [schema.IntList([1, 2]), schema.DoubleList([0.5]), schema.BoolList([True])]
    assert [type(graph.values[i].value) for i in kinds[9].items] == [schema.SymInt, schema.Int]
    assert kinds[10].items == [x.id, w.id]
    assert [graph.values[i].value.datatype for i in kinds[11].items] == [
        schema.VkDataType.FLOAT16,
        schema.VkDataType.BOOL,
    ]
    assert graph.values[w.id].value.datatype == schema.VkDataType.INT32
    assert graph.constants[0].length == 16


def test_equal_numbers_share_a_value_as_upstream() -> None:
    """`clamp(max=1.0)` first, and the softmax's dim 1 arrives as the Double 1.0."""

    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x.clamp(max=1.0), 1)

    theirs = export_delegate(Module(), (torch.randn(3, 4),)).graph
    g = GraphBuilder()
    x = g.input(torch.float32, (3, 4))
    y = g.call("aten.clamp.default", x, None, 1.0, out=(torch.float32, (3, 4)))
    g.output(g.call("aten._softmax.default", y, 1, False, out=(torch.float32, (3, 4))))
    ours = decode_graph(g.delegate().blob)
    for graph in (theirs, ours):
        softmax = graph.chain[-1]
        assert softmax.name == "aten._softmax.default"
        assert graph.values[softmax.args[1]].value == schema.Double(1.0)
