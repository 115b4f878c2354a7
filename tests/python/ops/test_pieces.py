"""Tensors larger than a storage binding, which operators read and write in pieces.

No adapter binds less than 128 MiB, so the cases run in a process where bindings have 64 KiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.capi import ModelError
from support.cases import F16, F32, I32, I64, SUMS, TIGHT, check_outputs, generator_for
from support.delegate import GraphBuilder, Value

IN_PIECES = "pieces" in os.environ.get("ETWEBGPU_KERNELS", "")
CASES: dict[str, Callable[[], None]] = {}


def case(function: Callable[[], None]) -> Callable[[], None]:
    CASES[function.__name__] = function
    return function


def random(*sizes: int, key: object = 0) -> torch.Tensor:
    return torch.rand(sizes, generator=generator_for("pieces", sizes, key)) * 2 - 1


def run(build: Callable[[GraphBuilder], list[Value]], inputs, expected, tolerance=SUMS) -> None:
    graph = GraphBuilder()
    graph.output(*build(graph))
    with graph.load() as model:
        check_outputs(model.run(*inputs), expected, tolerance)


def check_linear(rows: int, n: int, k: int, dtype: torch.dtype = F32, bias: bool = True) -> None:
    x, weight, b = random(rows, k), random(n, k, key=1).to(dtype), random(n, key=2)

    def build(g: GraphBuilder) -> list[Value]:
        constant_bias = g.constant(b.to(dtype)) if bias else None
        given = g.input(F32, x.shape)
        return [
            g.call(
                "aten.linear.default",
                given,
                g.constant(weight),
                constant_bias,
                out=(F32, (rows, n)),
            )
        ]

    added = b.to(dtype).double() if bias else None
    run(build, [x], [F.linear(x.double(), weight.double(), added).float()])


@case
def linear_layers_of_many_columns() -> None:
    for rows in (1, 5, 70):
        check_linear(rows, 1000, 100)
        check_linear(min(rows, 9), 777, 150, F16)


@case
def linear_layers_of_great_depth() -> None:
    """Even 64 rows of the weight are more than a binding: sums over pieces of K."""
    for rows in (1, 3, 17):
        check_linear(rows, 130, 700)
        check_linear(rows, 64, 1536, F16, bias=False)


def quantized(n: int, k: int, group: int, key: int = 0):
    generator = generator_for("pieces", n, k, key)
    packed = torch.randint(0, 256, (n, k // 2), generator=generator).to(torch.uint8)
    scales = torch.rand(k // group, n, generator=generator) * 0.2 - 0.1
    nibbles = torch.stack([packed & 15, packed >> 4], -1).reshape(n, k).double() - 8
    return packed, scales, nibbles * scales.double().t().repeat_interleave(group, 1)


@case
def four_bit_layers() -> None:
    for rows in (1, 9):
        packed, scales, weight = quantized(1000, 512, 32)
        x = random(rows, 512)

        def build(g: GraphBuilder, x=x, packed=packed, scales=scales) -> list[Value]:
            layer = (g.constant(packed), g.constant(scales), 32, None)
            out = (F32, (len(x), len(packed)))
            return [g.call("et_vk.linear_q4gsw.default", g.input(F32, x.shape), *layer, out=out)]

        run(build, [x], [(x.double() @ weight.t()).float()])


@case
def gated_layers() -> None:
    """silu(gate) * up, whose weights lie in one buffer, of which no binding takes both."""
    n, k = 640, 256
    for rows in (1, 9):
        x = random(rows, k) * 0.3
        parts = [quantized(n, k, 32, key) for key in (1, 2)]

        def build(g: GraphBuilder, x=x, parts=parts) -> list[Value]:
            given, out = g.input(F32, x.shape), (F32, (len(x), n))
            gate, up = (
                g.call("et_vk.linear_q4gsw.default", given, g.constant(w), g.constant(s), 32, None,
                       out=out)
                for w, s, _ in parts
            )  # fmt: skip
            sigmoid = g.call("aten.sigmoid.default", gate, out=out)
            silu = g.call("aten.mul.Tensor", gate, sigmoid, out=out)
            return [g.call("aten.mul.Tensor", silu, up, out=out)]

        gate, up = (x.double() @ weight.t() for _, _, weight in parts)
        run(build, [x], [(F.silu(gate) * up).float()])


@case
def eight_bit_layers() -> None:
    n, k = 300, 2000
    weight = torch.randint(-128, 128, (n, k), generator=generator_for("int8")).to(torch.int8)
    scales = random(n).abs() * 0.01
    for rows in (1, 6):
        x = random(rows, k)

        def build(g: GraphBuilder, x=x) -> list[Value]:
            layer = (g.constant(weight), g.constant(scales))
            out = (F32, (len(x), n))
            given = g.input(F32, x.shape)
            return [g.call("aten._weight_int8pack_mm.default", given, *layer, out=out)]

        expected = x.double() @ weight.double().t() * scales.double()
        run(build, [x], [expected.float()])


@case
def products_with_constants() -> None:
    x, y = random(3, 200), random(200, 900, key=1)

    def build(g: GraphBuilder) -> list[Value]:
        return [
            g.call("aten.mm.default", g.input(F32, x.shape), g.constant(y), out=(F32, (3, 900)))
        ]

    run(build, [x], [(x.double() @ y.double()).float()])


@case
def batches_of_products() -> None:
    x, y = random(40, 3, 64), random(40, 64, 96, key=1)

    def build(g: GraphBuilder) -> list[Value]:
        given = (g.input(F32, x.shape), g.prepack(y))
        return [g.call("aten.bmm.default", *given, out=(F32, (40, 3, 96)))]

    run(build, [x], [torch.bmm(x.double(), y.double()).float()])


@case
def embeddings() -> None:
    indices = torch.tensor([[0, 999, 64], [63, 640, 1]])
    for dtype, width in ((F32, 100), (F16, 150)):
        table = random(1000, width).to(dtype)

        def build(g: GraphBuilder, table=table, dtype=dtype, width=width) -> list[Value]:
            out = (dtype, (2, 3, width))
            given = g.input(I64, (2, 3))
            return [
                g.call(
                    "aten.embedding.default", g.constant(table), given, -1, False, False, out=out
                )
            ]

        run(build, [indices], [table[indices]], TIGHT)


@case
def rows_by_index() -> None:
    table, indices = random(500, 7, 9), torch.tensor([3, -1, 499, 0, -500, 64])

    def build(g: GraphBuilder) -> list[Value]:
        given, out = g.input(I64, (6,)), (F32, (6, 7, 9))
        constant = g.prepack(table)
        return [
            g.call("aten.index_select.default", constant, 0, given, out=out),
            g.call("aten.index.Tensor", constant, [given], out=out),
        ]

    run(build, [indices], [table[indices], table[indices]], TIGHT)


@case
def elementwise_over_constants() -> None:
    """Of equal sizes, broadcast along each side, and moved."""
    big, row, column = random(130, 300), random(300, key=1), random(130, 1, key=2)

    def build(g: GraphBuilder) -> list[Value]:
        out = (F32, big.shape)
        constant = g.prepack(big)
        x = g.input(F32, big.shape)
        r, c = g.input(F32, row.shape), g.input(F32, column.shape)
        return [
            g.call("aten.add.Tensor", x, constant, 1, out=out),
            g.call("aten.mul.Tensor", constant, r, out=out),
            g.call("aten.sub.Tensor", c, constant, 1, out=out),
            g.call("aten.flip.default", constant, [0, 1], out=out),
            g.call("aten.repeat.default", x, [1, 1], out=out),
        ]

    expected = [big + big, big * row, column - big, big.flip(0, 1), big]
    run(build, [big, row, column], expected, TIGHT)


@case
def parts_of_constants() -> None:
    big = random(130, 300)

    def build(g: GraphBuilder) -> list[Value]:
        constant, slice_copy = g.prepack(big), "aten.slice_copy.Tensor"
        return [
            g.call("aten.select_copy.int", constant, 0, 129, out=(F32, (300,))),
            g.call(slice_copy, constant, 0, 100, 110, 1, out=(F32, (10, 300))),
            g.call(slice_copy, constant, 0, 3, 103, 2, out=(F32, (50, 300))),
        ]

    run(build, [], [big[129], big[100:110], big[3:103:2]], TIGHT)


@case
def what_reads_all_over_a_tensor() -> None:
    big = random(130, 300)
    graph = GraphBuilder()
    out = (F32, (300, 130))
    graph.output(graph.call("aten.permute_copy.default", graph.prepack(big), [1, 0], out=out))
    with pytest.raises(
        ModelError, match=r"needs a binding of 15\d{4} bytes, but the adapter.s limit is 65536"
    ):
        graph.load()


@case
def activations() -> None:
    """Not constants alone: an input and what is computed from it."""
    x = torch.arange(40_000, dtype=I32).reshape(100, 400)

    def build(g: GraphBuilder) -> list[Value]:
        given = g.input(I64, x.shape)
        squares = g.call("aten.mul.Tensor", given, given, out=(I64, x.shape))
        return [squares, g.call("aten._to_copy.default", squares, *[None] * 6, out=(F32, x.shape))]

    wide = x.to(I64) * 100_000
    run(build, [wide], [wide * wide, (wide * wide).float()], TIGHT)


if IN_PIECES:

    @pytest.mark.parametrize("name", CASES)
    def test_in_pieces(name: str) -> None:
        CASES[name]()

else:

    def test_all_cases_with_small_bindings() -> None:
        kernels = [os.environ.get("ETWEBGPU_KERNELS", ""), "pieces"]
        environment = os.environ | {"ETWEBGPU_KERNELS": ",".join(filter(None, kernels))}
        command = [sys.executable, "-m", "pytest", "-q", __file__]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(CASES)} passed" in done.stdout or "." * len(CASES) in done.stdout
