"""Random modules through the stock exporter and the stock runtime: eager's results or a refusal.

What the exporter writes down is not always what the module does, and a runtime may only be silent
about it where the results are right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import executorch_webgpu
import pytest
import torch
from support.cases import seeds
from support.edges import agrees
from support.modules import Generated, generate
from support.stock import Program, export, program
from torch import Tensor, nn

EXACTLY = 2e-6  # of elements at the edges, which go through exact operators and a few curves


def exported(seed: int) -> tuple[Generated, bytes]:
    """The first of the seed's modules that the exporter takes: some it gives up with an assertion
    of its own."""
    for attempt in range(9):
        generated = generate("module", seed, attempt)
        try:
            return generated, export(
                generated.examples, dynamic_shapes=generated.dynamic_shapes, **generated.options
            )
        except Exception as error:
            print(f"seed {seed}, attempt {attempt}: {type(error).__name__}: {error}")
    raise AssertionError(f"seed {seed}: the exporter takes none of its modules")


def check_outputs(
    got: Sequence[Tensor], readings: Sequence[Sequence[Tensor]], tolerance: float, where: str
) -> None:
    """Every element is that of one of the readings: with subnormal numbers, or zeros for them."""
    assert len(got) == len(readings[0]), where
    relative = 10 * tolerance or EXACTLY
    for i, (g, *expected) in enumerate(zip(got, *readings, strict=True)):
        e = expected[0]
        label = f"{where}, output {i} ({e.dtype} {list(e.shape)})"
        assert (g.shape, g.dtype) == (e.shape, e.dtype), f"{label}: {g.dtype} {list(g.shape)}"
        right = torch.stack([agrees(g, e, relative, 10 * tolerance) for e in expected]).any(0)
        if not right.all():
            at = tuple((~right).nonzero()[0].tolist())
            raise AssertionError(f"{label} at {at}: {g[at].item()!r}, not {e[at].item()!r}")


def refused_properly(generated: Generated, act: Callable[[], object]) -> bool:
    """Whether `act` was refused; then it was with a sentence that this module may give rise to."""
    try:
        act()
    except RuntimeError as error:
        sentence = executorch_webgpu.last_error() or str(error)
        assert any(c in sentence and r in sentence for c, r in generated.refusals), sentence
        return True
    return False


@pytest.fixture(scope="module")
def ordinary() -> Program:
    return program(nn.ReLU(), torch.zeros(3))


@pytest.mark.parametrize("seed", seeds(24))
def test_a_random_module_gives_what_eager_gives_or_is_refused(seed: int, ordinary: Program) -> None:
    generated, pte = exported(seed)
    run = Program(pte)
    if refused_properly(generated, lambda: [run.load(name) for name in generated.methods]):
        assert ordinary(torch.tensor([-1.0, 0.0, 2.0]))[0].tolist() == [0, 0, 2]
        return
    readings = [generated.eager(flush=flush) for flush in (False, True)]
    for i, call in enumerate(generated.calls):
        where = f"seed {seed}, call {i}, {call.method!r}"
        got: list[Tensor] = []
        if refused_properly(
            generated, lambda c=call, g=got: g.extend(run.run(c.method, *c.inputs))
        ):
            assert ordinary(torch.tensor([-1.0, 0.0, 2.0]))[0].tolist() == [0, 0, 2]
            return
        check_outputs(got, [r[i] for r in readings], generated.tolerance, where)
