"""Weights that the program dequantizes: computed once, at load, and kept in 8 bits for layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed
import torchao.quantization.quant_primitives  # noqa: F401  registers torchao
from support.cases import F16, F32, I32, SUMS, TIGHT, check_outputs, generator_for
from support.delegate import GraphBuilder, Value
from support.export import export_delegate
from support.stock import program
from torch.nn import functional as F


def random_integers(
    sizes: Sequence[int], seed: object, dtype: torch.dtype = torch.int8
) -> torch.Tensor:
    info = torch.iinfo(dtype)
    low, high = max(info.min, -1000), min(info.max, 1000)
    return torch.randint(low, high + 1, sizes, generator=generator_for(seed)).to(dtype)


def dequantize(
    g: GraphBuilder,
    weight: torch.Tensor,
    block: Sequence[int],
    scales: torch.Tensor,
    zero_points: torch.Tensor | None,
    dtype: torch.dtype = F32,
) -> tuple[Value, torch.Tensor]:
    """The call, and what it gives."""
    operands = [g.prepack(weight), g.prepack(scales)]
    zeros = None if zero_points is None else g.prepack(zero_points)
    args = (operands[0], list(block), operands[1], zeros, None, -128, 127, 6)
    out = g.call("torchao.dequantize_affine.default", *args, out=(dtype, weight.shape))
    expected = torch.ops.torchao.dequantize_affine(
        weight, block, scales, zero_points, weight.dtype, None, None, F32
    )
    return out, expected.to(dtype)


@pytest.mark.parametrize("zeros", ["none", "zeros", "some"])
@pytest.mark.parametrize(
    ("n", "k", "group"),
    [(48, 64, 64), (48, 63, 63), (70, 64, 32), (5, 24, 4), (33, 30, 6), (48, 48, 3), (1, 1, 1)],
)
def test_linear(n: int, k: int, group: int, zeros: str) -> None:
    generator = generator_for(n, k, group, zeros)
    weight = random_integers((n, k), (n, k))
    scales = torch.rand(n, k // group, generator=generator) * 0.02
    points = {"none": None, "zeros": torch.zeros_like(scales).to(torch.int8)}.get(
        zeros, random_integers((n, k // group), "zero points")
    )
    bias = torch.randn(n, generator=generator) if n % 2 else None
    g = GraphBuilder()
    x = g.input(F32, (7, k))
    made, expected = dequantize(g, weight, (1, group), scales, points)
    clone = g.call("aten.clone.default", made, None, out=(F32, (n, k)))
    constant = None if bias is None else g.constant(bias)
    g.output(g.call("aten.linear.default", x, clone, constant, out=(F32, (7, n))))
    with g.load() as model:
        for rows in (7, 1, 3):
            given = torch.randn(rows, k, generator=generator)
            check_outputs(model.run(given), [F.linear(given, expected, bias)], SUMS)


@pytest.mark.parametrize("form", ["channel", "tensor", "tensor.tensor"])
@pytest.mark.parametrize("zero", [0, 3])
def test_forms_of_the_exporter(form: str, zero: int) -> None:
    weight = random_integers((24, 63), form)
    scales = torch.rand(24, generator=generator_for(form)) * 0.02
    if form != "channel":
        scales = scales[:1]
    g = GraphBuilder()
    x = g.input(F32, (3, 63))
    points = torch.full(scales.shape, zero, dtype=I32)
    if form == "tensor":
        given: tuple[Any, ...] = (scales.item(), zero)
    else:
        given = (g.prepack(scales), g.prepack(points))
    axis = (0,) if form == "channel" else ()
    name = {"channel": "channel.default", "tensor": "tensor.default"}.get(form, form)
    made = g.call(
        f"quantized_decomposed.dequantize_per_{name}",
        *(g.prepack(weight), *given, *axis, -128, 127, None, None),
        out=(F32, (24, 63)),
    )
    g.output(g.call("aten.linear.default", x, made, None, out=(F32, (3, 24))))
    dequantized = (weight.float() - zero) * (scales[:, None] if axis else scales)
    with g.load() as model:
        row = torch.randn(3, 63, generator=generator_for(form))
        check_outputs(model.run(row), [F.linear(row, dequantized)], SUMS)


@pytest.mark.parametrize("dtype", [F32, F16])
@pytest.mark.parametrize("integer", [torch.int8, torch.uint8, I32])
@pytest.mark.parametrize(
    ("sizes", "block"),
    [((6, 4, 3, 2), (1, 4, 3, 2)), ((6, 4), (2, 4)), ((4, 6), (4, 3)), ((9,), (1,)), ((), ())],
)
def test_other_uses_read_floats(
    sizes: tuple[int, ...], block: tuple[int, ...], integer: torch.dtype, dtype: torch.dtype
) -> None:
    """As an output too."""
    counts = [s // b for s, b in zip(sizes, block, strict=True)]
    weight = random_integers(sizes, sizes, integer)
    scales = torch.rand(counts, generator=generator_for(sizes)) * 0.02
    points = random_integers(counts, "zero points")
    g = GraphBuilder()
    x = g.input(dtype, sizes)
    made, expected = dequantize(g, weight, block, scales, points, dtype)
    g.output(g.call("aten.mul.Tensor", x, made, out=(dtype, sizes)), made)
    given = torch.randn(sizes, generator=generator_for(sizes)).to(dtype)
    with g.load() as model:
        for _ in range(2):
            got = model.run(given)
            check_outputs(got, [given.float().mul(expected).to(dtype), expected], TIGHT)


@pytest.mark.parametrize("zeros", ["none", "zeros", "some"])
@pytest.mark.parametrize("scales_dtype", [F32, F16])
@pytest.mark.parametrize(
    ("rows", "width", "block"),
    [
        (70, 64, (1, 64)),
        (5, 63, (1, 63)),
        (130, 30, (1, 5)),
        (64, 24, (1, 4)),
        (9, 6, (1, 1)),
        (12, 8, (3, 8)),
    ],
)
def test_embedding(
    rows: int, width: int, block: tuple[int, int], scales_dtype: torch.dtype, zeros: str
) -> None:
    counts = rows // block[0], width // block[1]
    weight = random_integers((rows, width), (rows, width))
    scales = (torch.rand(counts, generator=generator_for(rows, width)) * 0.02).to(scales_dtype)
    points = {"none": None, "zeros": torch.zeros(counts, dtype=torch.int8)}.get(
        zeros, random_integers(counts, "zero points")
    )
    g = GraphBuilder()
    indices = g.input(I32, (2, 3))
    made, expected = dequantize(g, weight, block, scales, points)
    args = (made, indices, -1, False, False)
    g.output(g.call("aten.embedding.default", *args, out=(F32, (2, 3, width))))
    with g.load() as model:
        for n in (3, 1, 2):
            given = torch.randint(0, rows, (2, n), generator=generator_for(n)).to(I32)
            check_outputs(model.run(given), [expected[given.long()]], TIGHT)


def test_an_embedding_tied_to_a_layer() -> None:
    """And an index outside of the table."""
    weight = random_integers((20, 12), "tied")
    scales = torch.rand(20, 1, generator=generator_for("tied")) * 0.02
    g = GraphBuilder()
    indices = g.input(I32, (3,))
    made, expected = dequantize(g, weight, (1, 12), scales, None)
    args = (made, indices, -1, False, False)
    rows = g.call("aten.embedding.default", *args, out=(F32, (3, 12)))
    g.output(rows, g.call("aten.linear.default", rows, made, None, out=(F32, (3, 20))))
    with g.load() as model:
        found = torch.stack([expected[19], torch.zeros(12), expected[0]])
        got = model.run(torch.tensor([19, 20, 0], dtype=I32))
        check_outputs(got, [found, found @ expected.t()], SUMS)


def test_a_product_with_the_matrix_itself() -> None:
    """[K, N], as mm takes it: with a scale for each row of K."""
    weight = random_integers((12, 20), "mm")
    scales = torch.rand(12, generator=generator_for("mm"))[:, None] * 0.02
    g = GraphBuilder()
    x = g.input(F32, (5, 12))
    made, expected = dequantize(g, weight, (1, 20), scales, None)
    g.output(g.call("aten.mm.default", x, made, out=(F32, (5, 20))))
    with g.load() as model:
        given = torch.randn(5, 12, generator=generator_for("x"))
        check_outputs(model.run(given), [given @ expected], SUMS)


def test_a_view_with_room_for_more() -> None:
    """Nothing is read past a constant's end."""
    g = GraphBuilder()
    weight = random_integers((2, 2), "small")
    small = g.constant(weight)
    large = g.call("et_vk.prepack.default", small, out=(torch.int8, (200, 200)))
    args = (large, 0.5, 0, -128, 127, None, None)
    name = "quantized_decomposed.dequantize_per_tensor.default"
    g.output(g.call(name, *args, out=(F32, (200, 200))))
    with g.load() as model:
        check_outputs(model.run(), [weight * 0.5], TIGHT)


class Quantized(torch.nn.Module):
    """Weights in 8 bits as PT2E and torchao spell them, one of them with two uses."""

    def __init__(self) -> None:
        super().__init__()
        generator = generator_for("exported")
        for name, sizes, scales in (
            ("kernel", (5, 3, 3, 3), (5,)),
            ("odd", (36, 63), (36,)),
            ("grouped", (20, 36), (20, 3)),
        ):
            self.register_buffer(name, random_integers(sizes, name))
            self.register_buffer(f"{name}_scales", torch.rand(scales, generator=generator) * 0.02)
            self.register_buffer(f"{name}_zeros", torch.zeros(scales, dtype=torch.int64))

    def per_channel(self, name: str) -> torch.Tensor:
        parts = (getattr(self, f"{name}_{p}") for p in ("scales", "zeros"))
        args = (*parts, 0, -128, 127, torch.int8)
        made: torch.Tensor = torch.ops.quantized_decomposed.dequantize_per_channel(
            getattr(self, name), *args
        )
        return made

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(image, self.per_channel("kernel")).flatten(2)[..., :63]
        odd = self.per_channel("odd")
        hidden = F.linear(hidden, odd) + odd[0, :36]
        grouped = torch.ops.torchao.dequantize_affine(
            self.grouped, (1, 12), self.grouped_scales, self.grouped_zeros, torch.int8, -128, 127
        )
        return F.linear(hidden, grouped)


def test_exported_weights() -> None:
    """Through the partitioner, without a runtime and with the stock one."""
    module, image = Quantized(), torch.randn(1, 3, 11, 11, generator=generator_for("image"))
    expected = [module(image)]
    with export_delegate(module, (image,)).load() as model:
        check_outputs(model.run(image), expected, SUMS)
    check_outputs(program(module, image)(image), expected, SUMS)
