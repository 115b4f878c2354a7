"""Embeddings of 8 bits, as export_llm's `embedding_quantize` makes them."""

from __future__ import annotations

import executorch.exir.passes._quant_patterns_and_replacements  # noqa: F401  registers them
import pytest
import torch
from executorch_webgpu.lowering import partition, plan_memory
from executorch_webgpu.lowering.prepare import prepared
from support.lowered import Stated, compare, graph_of
from support.stock import Program

ROWS, WIDTH = 37, 24
lookup = torch.ops.quantized_decomposed.embedding_byte


def generator():
    return torch.Generator().manual_seed(0)


def module(forward, *groups, **others):
    table = torch.randint(-128, 128, (ROWS, WIDTH), dtype=torch.int8, generator=generator())
    scales = torch.rand(ROWS, *groups, generator=generator()) * 0.02
    return Stated(forward, **{"table": table, "scales": scales, **others})


def plain(s, i):
    return lookup(s.table, s.scales, None, -128, 127, i) * 1


def typed(s, i):
    return lookup.dtype(s.table, s.scales, None, -128, 127, i, dtype=torch.float32) * 1


INDICES = torch.tensor([[0, 5, 36], [7, 7, 1]])


def is_rewritten(given):
    graph = prepared({"": graph_of(given, (INDICES,))}, {"": {}})[""].graph
    return not any("embedding_byte" in str(node.target) for node in graph.nodes)


@pytest.mark.parametrize("groups", [(), (1,), (3,), (12,)], ids=str)
@pytest.mark.parametrize("forward", [plain, typed])
def test_lookups(forward, groups):
    given = module(forward, *groups)
    assert is_rewritten(given)
    edge = partition(graph_of(given, (INDICES,)))
    called = [str(n.target) for n in edge.exported_program().graph.nodes]
    assert not any("embedding" in name for name in called), called
    program = Program(bytes(plan_memory(edge).buffer))
    for indices in (INDICES, INDICES.flip(1)):
        compare(program(indices), given(indices), "rows")


def test_rows_from_the_first_on():
    length = torch.export.Dim("length", min=1, max=9)
    given = module(plain, 3)
    program = plan_memory(partition(graph_of(given, (INDICES[:1],), (({1: length},),))))
    stock = Program(bytes(program.buffer))
    for n in (3, 1, 9, 2):
        indices = torch.randint(0, ROWS, (1, n), generator=generator())
        compare(stock(indices), given(indices), f"{n} indices")


def with_zero_points(s, i):
    return lookup(s.table, s.scales, s.zeros, -128, 127, i) * 1


def of_halves(s, i):
    return lookup.dtype(s.table, s.scales.half(), None, -128, 127, i, dtype=torch.float16) * 1


def changing(s, i):
    rows = plain(s, i)
    s.table.neg_()
    return rows


def computed(s, i):
    return lookup(s.table, s.scales + i.sum() * 0, None, -128, 127, i) * 1


@pytest.mark.parametrize("forward", [with_zero_points, of_halves, changing, computed])
def test_what_stays(forward):
    zeros = torch.randint(-9, 9, (ROWS,), generator=generator()).to(torch.float32)
    assert not is_rewritten(module(forward, zeros=zeros))
