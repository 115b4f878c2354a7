"""Linear layers over 8-bit weights that the program converts itself."""

from __future__ import annotations

import pytest
import torch
from executorch_webgpu.lowering import partition, plan_memory
from support.lowered import Stated, compare, graph_of
from support.stock import Program
from torch.nn import functional as F

IN, OUT = 16, 20


def of_bytes(*sizes):
    return torch.randint(
        -128, 128, sizes, dtype=torch.int8, generator=torch.Generator().manual_seed(0)
    )


def whole(*sizes):
    """Numbers whose products with weights are added up without rounding."""
    return torch.randint(-8, 9, sizes, generator=torch.Generator().manual_seed(1)).float()


def scales_for(outputs, seed=0):
    """With which nothing is rounded either."""
    return 2.0 ** -torch.randint(4, 9, (outputs,), generator=torch.Generator().manual_seed(seed))


def module(forward, **others):
    given = {"w": of_bytes(OUT, IN), "scales": scales_for(OUT), "bias": torch.linspace(-1, 1, OUT)}
    return Stated(forward, **{**given, **others})


def layer(s, x):
    """As torchao's and export_llm's are."""
    return F.linear(x, s.w.to(x.dtype)) * s.scales


LAYERS = {
    "scaled": layer,
    "scaled from before": lambda s, x: s.scales * F.linear(x, s.w.to(x.dtype)),
    "unscaled": lambda s, x: F.linear(x, s.w.float()),
    "with a bias": lambda s, x: F.linear(x, s.w.float(), s.bias) * s.scales,
    "read before its scales": lambda s, x: (F.linear(x, s.w.float()) * s.scales, _raw(s, x)),
    "two products": lambda s, x: (lambda y: (y * s.scales, y + 1))(F.linear(x, s.w.float())),
    "one scale": lambda s, x: F.linear(x, s.w.float()) * s.single,
    "a scale for each row": lambda s, x: F.linear(x, s.w.float()) * s.rows,
    "itself": lambda s, x: (lambda y: y * y)(F.linear(x, s.w.float())),
    "for two": lambda s, x: (layer(s, x), F.linear(x + 1, s.w.float()) * s.others),
}


def _raw(s, x):
    return F.linear(x, s.w.float()) + 1


@pytest.mark.parametrize("rows", [1, 3, OUT])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, rows):
    forward = LAYERS[name]
    given = module(
        forward, rows=scales_for(rows, 1)[:, None], single=scales_for(1), others=scales_for(OUT, 2)
    )
    x = whole(rows, IN)
    edge = partition(graph_of(given, (x,)))
    called = [str(n.target) for n in edge.exported_program().graph.nodes]
    assert not any("aten" in name for name in called), called
    program = plan_memory(edge)
    compare(Program(bytes(program.buffer))(x), given(x), name)


@pytest.mark.parametrize("sizes", [(7, 13), (5, 12), (1, 4), (9, 1), (66, 130)], ids=str)
def test_odd_sizes(sizes):
    given = Stated(layer, w=of_bytes(*sizes), scales=scales_for(sizes[0]))
    x = whole(2, 3, sizes[1])
    program = plan_memory(partition(graph_of(given, (x,))))
    compare(Program(bytes(program.buffer))(x), given(x), "layer")


def test_weights_stay_bytes():
    wide = {"w": of_bytes(256, 512), "scales": scales_for(256)}
    given = Stated(layer, **wide)
    x = whole(2, 3, 512)
    program = plan_memory(partition(graph_of(given, (x,))))
    assert len(bytes(program.buffer)) < 1.2 * 256 * 512
    compare(Program(bytes(program.buffer))(x), given(x), "layer")


def changing(s, x):
    y = layer(s, x)
    s.w.add_(1)
    return y


def test_weights_that_change():
    given, eager = module(changing), module(changing)
    program = Program(bytes(plan_memory(partition(graph_of(given, (torch.ones(2, IN),)))).buffer))
    for number in range(3):
        x = whole(2, IN) + number
        compare(program(x), eager(x), f"step {number}")


@pytest.mark.parametrize(
    "forward",
    [
        lambda s, x: F.linear(x, s.w.to(torch.int32).float()) * s.scales,
        lambda s, x: F.linear(x.double(), s.w.double()).float() * s.scales,
        lambda s, x: F.linear(x, s.unsigned.float()) * s.scales,
        lambda s, x: F.linear(x, s.wide.float()) * s.scales,
        lambda s, x: F.embedding(x.abs().long() % OUT, s.w.float()),
    ],
    ids=["wider on the way", "float64", "unsigned", "32 bits", "a table"],
)
def test_conversions_of_other_kinds(forward):
    others = {"unsigned": of_bytes(OUT, IN).to(torch.uint8), "wide": of_bytes(OUT, IN).int() * 3}
    given = module(forward, **others)
    x = whole(3, IN)
    program = plan_memory(partition(graph_of(given, (x,))))
    compare(Program(bytes(program.buffer))(x), given(x), "layer")
