"""Buffers that a program writes: state kept between runs, views of it, and reads before writes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from support.cases import F32, TIGHT, check_outputs, generator_for
from support.delegate import GraphBuilder, Value

START = torch.arange(12.0).reshape(3, 4)

# Outputs and the buffer's next contents, of the input and the buffer.
Step = Callable[[torch.Tensor, torch.Tensor], tuple[list[torch.Tensor], torch.Tensor]]


def check(build: Callable[[GraphBuilder, Value, Value], None], step: Step) -> None:
    """`build` gets the graph, an input of sizes [1, 4] and the prepacked buffer, as upstream
    serializes one: the call that writes it has it for its output."""
    graph = GraphBuilder()
    x = graph.input(F32, (1, 4))
    build(graph, x, graph.prepack(START))
    with graph.load() as model:
        state = START.clone()
        for run in range(4):
            given = torch.randn(1, 4, generator=generator_for("mutable", run))
            expected, state = step(given, state)
            check_outputs(model.run(given), expected, TIGHT, f"run {run}")


def negated(graph: GraphBuilder, value: Value) -> Value:
    result = graph.call("aten.neg.default", value, out=(F32, (3, 4)))
    assert isinstance(result, Value)
    return result


def test_written_in_place_and_read_after() -> None:
    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        g.call("aten.add.Tensor", buffer, x, 1, out=buffer)
        g.output(negated(g, buffer))

    check(build, lambda x, s: ([-(s + x)], s + x))


def test_written_but_never_read_again() -> None:
    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        g.output(negated(g, buffer))
        g.call("aten.add.Tensor", buffer, x, 1, out=buffer)

    check(build, lambda x, s: ([-s], s + x))


def test_a_constant_of_equal_bytes_is_not_written() -> None:
    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        g.call("aten.add.Tensor", buffer, x, 1, out=buffer)
        g.output(negated(g, g.prepack(START)))

    check(build, lambda x, s: ([-START], s + x))


def test_a_view_taken_before_the_write_keeps_the_old_contents() -> None:
    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        view = g.call("aten.view_copy.default", buffer, [4, 3], out=(F32, (4, 3)))
        g.call("aten.add.Tensor", buffer, x, 1, out=buffer)
        g.output(view, g.call("aten.neg.default", view, out=(F32, (4, 3))))

    check(build, lambda x, s: ([s.reshape(4, 3), -s.reshape(4, 3)], s + x))


def test_shifted_by_a_row() -> None:
    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        rest = g.call("aten.slice_copy.Tensor", buffer, 0, 1, None, 1, out=(F32, (2, 4)))
        g.call("aten.cat.default", [rest, x], 0, out=buffer)
        g.output(negated(g, buffer))

    check(build, lambda x, s: ([-torch.cat([s[1:], x])], torch.cat([s[1:], x])))


def test_read_and_written_by_one_call() -> None:
    """Element i comes from elsewhere in the buffer: the write must not overtake the read."""

    def build(g: GraphBuilder, x: Value, buffer: Value) -> None:
        g.call("aten.flip.default", buffer, [0], out=buffer)
        g.output(negated(g, buffer))

    check(build, lambda x, s: ([-s.flip(0)], s.flip(0)))
