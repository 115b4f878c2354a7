"""Integers of 64 bits, which the delegate format records as int32, through the stock runtime."""

from __future__ import annotations

import operator

import executorch_webgpu
import pytest
import torch
from support.cases import EXACT, SUMS, check_outputs
from support.delegate import GraphBuilder
from support.stock import program
from torch import nn

LEAST, MOST = -(2**63), 2**63 - 1
EDGES = torch.tensor([
    0, 1, -1, 2, -2, 7, -7, 255, 65535, 65536, -65537, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1,
    2**32 - 1, 2**32, 2**32 + 1, -(2**32), 2**40 + 5, -(2**40) - 5, 2**53 + 1, 10**15, MOST,
    MOST - 1, LEAST, LEAST + 1, 2**62, -(2**62), 3_000_000_000, -3_000_000_000,
])  # fmt: skip


def module(forward) -> nn.Module:
    class Plain(nn.Module):
        def forward(self, *inputs):
            return forward(*inputs)

    return Plain()


def check(forward, *inputs, examples=None, exact: bool = True) -> None:
    model = module(forward)
    got = program(model, *(examples or inputs))(*inputs)
    expected = model(*inputs)
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype
        torch.testing.assert_close(g, e, rtol=0 if exact else 1e-6, atol=0)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Every edge beside every other."""
    return EDGES[:, None].expand(-1, len(EDGES)).contiguous(), EDGES.expand(len(EDGES), -1).clone()


ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "and": operator.and_,
    "or": operator.or_,
    "alpha": lambda a, b: torch.add(a, b, alpha=3),
    "negative alpha": lambda a, b: torch.sub(a, b, alpha=100_000),
}
COMPARISONS = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")} | {
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
}


@pytest.mark.parametrize("name", ARITHMETIC | COMPARISONS)
def test_two_tensors(name):
    check((ARITHMETIC | COMPARISONS)[name], *pairs())


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_division(mode):
    a, b = pairs()
    b = torch.where((b == 0) | ((a == LEAST) & (b == -1)), 3, b)  # no quotient
    check(lambda a, b: torch.div(a, b, rounding_mode=mode), a, b)


def test_true_division():
    a, b = pairs()
    check(lambda a, b: a / b, a, torch.where(b == 0, 3, b), exact=False)


def test_power():
    bases = torch.tensor([0, 1, -1, 2, -2, 3, 10, -7, 2**31, 2**33 + 1, MOST, LEAST])
    exponents = torch.tensor([0, 1, 2, 3, 5, 19, 40, 62, 63])
    a = bases[:, None].expand(-1, len(exponents)).contiguous()
    check(torch.pow, a, exponents.expand(len(bases), -1).contiguous())


UNARY = {
    "neg": operator.neg,
    "abs": torch.abs,
    "invert": operator.invert,
    "relu": torch.relu,
    "logical_not": torch.logical_not,
    "clamp": lambda a: torch.clamp(a, -5, 100_000),
    "clamp wide": lambda a: torch.clamp(a, -(2**40), 2**41),
    "clamp below": lambda a: torch.clamp(a, min=-3),
    "scaled twice": lambda a: a * 65536 * 65536 + 12345,
    "float": lambda a: a.float(),
    "float of sum": lambda a: (a + 1).float() * 0.5,
    "int8": lambda a: a.to(torch.int8),
    "uint8": lambda a: a.to(torch.uint8),
    "bool": lambda a: a.bool(),
    "full_like": lambda a: torch.full_like(a, 2**40 + 1) + a,
    "where": lambda a: torch.where(a > 2**32, a, -a),
    "compared with a number": lambda a: a > 2**40,
}


@pytest.mark.parametrize("name", UNARY)
def test_one_tensor(name):
    check(UNARY[name], EDGES)


MOVES = {
    "permute": lambda x: (x + 1).permute(1, 0),
    "select": lambda x: (x + 1)[2],
    "slice": lambda x: (x + 1)[1:3, ::2],
    "cat": lambda x: torch.cat([x + 1, x, x * 3]),
    "flip": lambda x: (x + 1).flip(1),
    "repeat": lambda x: (x + 1).repeat(2, 3),
    "expand": lambda x: (x + 1)[:, :1].expand(4, 6),
    "pad": lambda x: nn.functional.pad(x + 1, (1, 2), value=7),
    "index_select": lambda x: (x + 1).index_select(0, torch.tensor([3, 0, 0])),
    "view": lambda x: (x + 1).view(6, 4) * 2,
    "split": lambda x: (x * 2).split([1, 5], 1),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name):
    check(MOVES[name], EDGES[-24:].reshape(4, 6))


# The partitioner leaves reductions of integers to other kernels; the format has them all the same.
REDUCTIONS = {
    "sum.dim_IntList": (torch.Tensor.sum, [None]),
    "amax.default": (torch.Tensor.amax, []),
    "amin.default": (torch.Tensor.amin, []),
}


def samples(*sizes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(sizes))
    return EDGES[torch.randint(len(EDGES), sizes, generator=generator)]


def check_reduction(name, x, expected, *args) -> None:
    graph = GraphBuilder()
    value = graph.input(x.dtype, x.shape)
    out = (expected.dtype, expected.shape)
    graph.output(graph.call(f"aten.{name}", value, *args, out=out))
    with graph.load() as model:
        check_outputs(model.run(x), [expected], SUMS if expected.is_floating_point() else EXACT)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dims", [[1], [0], [0, 2], [1, 2]], ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dims, keep):
    """Short rows, and ones long enough for a workgroup each."""
    reference, more = REDUCTIONS[name]
    for sizes in (3, 5, 2), (2, 33, 9), (1, 150, 2):
        x = samples(*sizes)
        check_reduction(name, x, reference(x, dims, keep), dims, keep, *more)


@pytest.mark.parametrize("dims", [[1], [0, 2]], ids=str)
def test_sums_of_integers_as_floats(dims):
    x = (samples(3, 130, 2) // 128).abs()  # nothing cancels
    check_reduction("sum.dim_IntList", x, x.sum(dims).float(), dims, False, None)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_of_extremes(name):
    for sizes in (4, 5), (3, 200):
        x = samples(*sizes)
        for dim in (0, 1):
            check_reduction(f"{name}.default", x, getattr(x, name)(dim), dim, False)


def test_positions_grow_past_32_bits():
    x, factor = torch.randn(3, 50), torch.tensor([2**33, -(2**57), 3])
    check(lambda x, factor: x.argmax(1) * factor, x, factor)


def test_broadcast_with_narrow_types():
    x = EDGES[-24:].reshape(4, 6)
    small = torch.tensor([-128, -1, 0, 1, 2, 127], dtype=torch.int8)
    flags = torch.tensor([True, False, True, True, False, False])
    check(lambda a, b, f: (a + b, a * f, torch.where(f, a, a + 1)), x, small, flags)


FLOATS = torch.tensor([
    0.0, -0.0, 0.9, -0.9, 2.5, -2.5, 127.0, 128.0, 255.0, 256.0, 300.0, -1.0, -129.0, 70000.0,
    2147483520.0, 2147483648.0, -2147483648.0, -2147483904.0, 3e9, -3e9, 2.0**32, 2.0**40 + 4096,
    9.2e18, 9.3e18, -9.3e18, 1e20, 3e38, -3e38, 1e-40, float("inf"), -float("inf"), float("nan"),
])  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool])
def test_from_floats(dtype):
    """Out of range as eager has it on x86."""
    check(lambda x: x.to(dtype), FLOATS)


def test_from_floats_in_steps():
    x = torch.tensor([1.0, 2.0, 3.0])
    check(lambda x: (x * 1.5e9).to(torch.int64), x)
    check(lambda x: (x * 1.5e9).to(torch.int64) * 4 + 1, x)


def test_int32_wraps_as_int32():
    a = torch.tensor([2**31 - 1, -(2**31), 65536, 123456789], dtype=torch.int32)
    check(lambda a, b: (a + b, a * b, a - b, -a, a > a + b), a, a.flip(0))


def test_int32_and_int64_in_one_program():
    a = torch.tensor([2**31 - 1, -(2**31), 7], dtype=torch.int32)
    b = torch.tensor([2**40, -1, 2**62])
    check(lambda a, b: (a + 1, b * 3, a * b), a, b)


def test_one_program_takes_turns_of_widths():
    """The same delegate, once with int64 and once with int32 at its edges."""
    model = module(lambda a, b: (a * b, a + b))
    a, b = torch.tensor([2**31 - 1, 65536, -3]), torch.tensor([3, 65537, 5])
    wide = program(model, a, b)
    for _ in range(2):
        torch.testing.assert_close(wide(a, b), list(model(a, b)))
        a, b = b * 2**20, a


def test_dynamic_sizes():
    rows = torch.export.Dim("rows", max=40)
    model = module(lambda x: (x * 1_000_003 + 1, (x * x).float()))
    run = program(model, EDGES[:5], dynamic_shapes={"inputs": ({0: rows},)})
    for count in (3, 24, 1, 24, 0, 7):
        x = EDGES[:count].clone()
        for got, expected in zip(run(x), model(x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-7, atol=0)


def test_an_index_out_of_range_stays_out_of_range():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, x):
            return self.table(x * 2**31)

    model = Lookup()
    (got,) = program(model, torch.tensor([0]))(torch.tensor([2]))  # 2^32, not 0
    assert not torch.equal(got[0], model.table.weight[0])


class Total(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3, dtype=torch.int64))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


def test_state():
    model, x = Total(), torch.tensor([2**31 - 1, -(2**31), 2**40])
    run = program(Total(), x, alias_buffer_mutations=True)
    for _ in range(4):
        torch.testing.assert_close(run(x), [model(x)], rtol=0, atol=0)


def test_an_index_beyond_int32_is_refused():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, x):
            return self.table(x)

    model = Lookup()
    run = program(model, torch.tensor([0, 1]))
    with pytest.raises(RuntimeError):
        run(torch.tensor([3, 2**32 + 3]))
    assert str(2**32 + 3) in executorch_webgpu.last_error()
    torch.testing.assert_close(run(torch.tensor([3, 4])), [model(torch.tensor([3, 4]))])
