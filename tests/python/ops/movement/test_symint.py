"""Live scalars: arithmetic, and where they come from and go to."""

from __future__ import annotations

import random

import pytest
import torch
from support.cases import (
    DEFAULTS,
    EXACT,
    F32,
    I32,
    I64,
    check_outputs,
    generator_for,
    rng_for,
    seeds,
)
from support.delegate import GraphBuilder


def test_symint_feeds_a_view_of_another_tensor() -> None:
    g = GraphBuilder()
    x = g.input(F32, (5, 3))
    y = g.input(F32, (15,))
    rows = g.symint("sym_size.int", x, 0)
    g.output(g.call("aten.view_copy.default", y, [rows, 3], out=(F32, (5, 3))))
    with g.load() as model:
        for n in (5, 2, 4):
            y_live = torch.randn(3 * n, generator=generator_for(n))
            check_outputs(model.run(torch.zeros(n, 3), y_live), [y_live.reshape(n, 3)], EXACT)


def _symint_graph(steps: list[tuple[str, int]], rng: random.Random) -> None:
    g = GraphBuilder()
    x = g.input(F32, (50, 1))
    value = g.symint("sym_size.int", x, 0)
    for name, operand in steps:
        value = g.symint(name, value, operand)
    g.output(g.call("aten.full.default", [value], 1, *DEFAULTS, out=(F32, (5000,))))
    with g.load() as model:
        for n in rng.sample(range(20, 51), 8):
            expected = n
            for name, operand in steps:
                expected = {
                    "add": expected + operand,
                    "sub": expected - operand,
                    "mul": expected * operand,
                    "floordiv": expected // operand,
                }[name]
            check_outputs(model.run(torch.zeros(n, 1)), [torch.ones(expected)], EXACT, str(steps))


@pytest.mark.parametrize("seed", seeds(8))
def test_symint_arithmetic(seed: int) -> None:
    rng = rng_for("symint", seed)
    steps = [("mul", rng.randint(1, 9)), ("sub", rng.randint(1, 5)), ("floordiv", 3), ("add", 2)]
    rng.shuffle(steps)
    _symint_graph(steps, rng)


def test_symint_division_of_negative_numbers_floors() -> None:
    g = GraphBuilder()
    pos = g.input(I64, (2,))
    a = g.symint("et_vk.select_as_symint.default", pos, 0, 0)
    b = g.symint("et_vk.select_as_symint.default", pos, 0, -1)
    size = g.symint("add", g.symint("floordiv", a, b), 20)
    g.output(g.call("aten.full.default", [size], 1, *DEFAULTS, out=(F32, (64,))))
    with g.load() as model:
        for x, y in ((7, 2), (-7, 2), (7, -2), (-7, -2), (0, 5), (-8, 4)):
            got = model.run(torch.tensor([x, y]))
            check_outputs(got, [torch.ones(x // y + 20)], EXACT, f"{x} // {y}")


def test_symint_as_a_graph_input() -> None:
    g = GraphBuilder()
    x = g.input(F32, (10, 2))
    n = g.symint_input()
    g.output(g.call("aten.slice_copy.Tensor", x, 0, n, 10, 1, out=(F32, (10, 2))))
    with g.load() as model:
        x_live = torch.randn(10, 2, generator=generator_for(0))
        for start in (0, 9, 3, 3, 10):
            check_outputs(model.run(x_live, start), [x_live[start:]], EXACT, f"from {start}")


def test_select_as_symint_reads_any_position() -> None:
    g = GraphBuilder()
    table = g.input(I32, (1, 4))
    row = g.symint("et_vk.select_as_symint.default", table, 1, -2)
    g.output(g.call("aten.full.default", [2, 2], 1, *DEFAULTS, out=(F32, (2, 2))))
    g.output(g.call("aten.full.default", [row], 1, *DEFAULTS, out=(F32, (50,))))
    with g.load() as model:
        for seed in range(5):
            values = torch.randint(1, 50, (1, 4), generator=generator_for(seed)).to(I32)
            expected = int(values[0, -2])
            got = model.run(values)
            check_outputs(got, [torch.ones(2, 2), torch.ones(expected)], EXACT)
