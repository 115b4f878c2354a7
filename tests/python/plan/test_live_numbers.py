"""SymInts where programs mostly have a number, and one value that is an output twice."""

from __future__ import annotations

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk::*
import pytest
import torch
from support.capi import ModelError
from support.cases import EXACT, F32, I32, I64, SUMS, TIGHT, check_outputs, generator_for
from support.delegate import GraphBuilder
from support.quantized import random_weight


def random(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, generator=generator_for("live numbers", sizes))


def test_a_value_that_is_two_outputs() -> None:
    g = GraphBuilder()
    x = g.input(F32, (3, 4))
    y = g.call("aten.mul.Tensor", x, 2.0, out=(F32, (3, 4)))
    g.output(y, x, y, x)
    with g.load() as model:
        for rows in (3, 1, 0, 2):
            given = random(3, 4)[:rows]
            check_outputs(model.run(given), [2 * given, given] * 2, EXACT)


def test_a_state_that_is_two_outputs() -> None:
    g = GraphBuilder()
    state = g.constant(torch.zeros(4))
    g.call("aten.add.Tensor", state, g.input(F32, (4,)), 1, out=state)
    g.output(state, state)
    with g.load() as model:
        for step in range(1, 4):
            check_outputs(model.run(torch.ones(4)), [torch.full((4,), float(step))] * 2, EXACT)


def test_dimensions() -> None:
    """Of a softmax, a gather, a sum, a selection and more: each call may have another."""
    g = GraphBuilder()
    x, at, dim = g.input(F32, (4, 4)), g.input(I64, (4, 4)), g.symint_input()
    square = (F32, (4, 4))
    g.output(
        g.call("aten._softmax.default", x, dim, False, out=square),
        g.call("aten.gather.default", x, dim, at, out=square),
        g.call("aten.sum.dim_IntList", x, [dim], True, None, out=square),
        g.call("aten.select_copy.int", x, dim, 1, out=(F32, (4,))),
        g.call("aten.flip.default", x, [dim], out=square),
        g.call("aten.argmax.default", x, dim, False, out=(I64, (4,))),
        g.call("aten.cat.default", [x, x], dim, out=(F32, (8, 8))),
    )
    values, index = random(4, 4), torch.randint(0, 4, (4, 4), generator=generator_for("at"))
    with g.load() as model:
        for d in (0, 1, -1, 0, -2, 1):
            expected = [
                values.softmax(d), values.gather(d, index), values.sum(d, keepdim=True),
                values.select(d, 1), values.flip(d), values.argmax(d), torch.cat([values] * 2, d),
            ]  # fmt: skip
            check_outputs(model.run(values, index, d), expected, TIGHT, f"dimension {d}")
        with pytest.raises(ModelError, match=r"dimension 2 is outside \[-2, 1\]"):
            model.run(values, index, 2)
        check_outputs(model.run(values, index, 1)[:1], [values.softmax(1)], TIGHT)


def test_a_permutation() -> None:
    g = GraphBuilder()
    x, first, second = g.input(F32, (3, 3)), g.symint_input(), g.symint_input()
    g.output(g.call("aten.permute_copy.default", x, [first, second], out=(F32, (3, 3))))
    with g.load() as model:
        for order in ((0, 1), (1, 0), (0, 1), (-1, 0)):
            check_outputs(model.run(random(3, 3), *order), [random(3, 3).permute(order)], EXACT)


def test_groups_of_a_norm() -> None:
    g = GraphBuilder()
    x, groups = g.input(F32, (2, 12, 5)), g.symint_input()
    outs = [(F32, (2, 12, 5)), (F32, (2, 12)), (F32, (2, 12))]
    args = (x, None, None, 2, 12, 5, groups, 1e-5)
    g.output(*g.call("aten.native_group_norm.default", *args, out=outs))
    with g.load() as model:
        for n in (1, 4, 12, 3, 4):
            expected = torch.native_group_norm(random(2, 12, 5), None, None, 2, 12, 5, n, 1e-5)
            check_outputs(model.run(random(2, 12, 5), n), list(expected), SUMS, f"{n} groups")
        with pytest.raises(ModelError, match="12 channels do not divide into 5 groups"):
            model.run(random(2, 12, 5), 5)


def test_what_shuffles_pixels() -> None:
    g = GraphBuilder()
    x, factor = g.input(F32, (1, 36, 2, 3)), g.symint_input()
    out = g.call("aten.pixel_shuffle.default", x, factor, out=(F32, (1, 36, 12, 18)))
    g.output(g.call("aten.mul.Tensor", out, 2.0, out=(F32, (1, 36, 12, 18))))
    with g.load() as model:
        for r in (2, 3, 6, 1, 2):
            expected = 2 * torch.pixel_shuffle(random(1, 36, 2, 3), r)
            check_outputs(model.run(random(1, 36, 2, 3), r), [expected], EXACT, f"by {r}")


def test_groups_and_zero_points_that_are_live() -> None:
    """Of a weight that goes back into 4 bits, and of one quantized per tensor."""
    g = GraphBuilder()
    weight, scales, live = g.input(F32, (3, 32)), g.input(F32, (32, 3)), g.symint_input()
    packed = (torch.uint8, (3, 16))
    g.output(
        g.call("et_vk.q4gsw_requant.default", weight, scales, live, out=packed),
        g.call(
            "quantized_decomposed.quantize_per_tensor.default",
            weight, 0.1, live, -128, 127, None, out=(torch.int8, (3, 32)),
        ),
    )  # fmt: skip
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor
    with g.load() as model:
        for n in (8, 1, 32, 5, 8):
            inputs = random(3, 32), random(32, 3).abs() + 0.1
            expected = [
                torch.ops.et_vk.q4gsw_requant(*inputs, n),
                quantize(inputs[0], 0.1, n, -128, 127, torch.int8),
            ]
            check_outputs(model.run(*inputs, n), expected, EXACT, f"{n}")


def test_numbers_that_follow_from_sizes() -> None:
    """A size of x is the number of groups, and the sum of two the factor."""
    g = GraphBuilder()
    x, y = g.input(F32, (2, 12, 4)), g.input(F32, (12,))
    size = g.symint("sym_size.int", y, 0)
    half = g.symint("floordiv", size, 2)
    outs = [(F32, (2, 12, 4)), (F32, (2, 12)), (F32, (2, 12))]
    groups = g.call("aten.native_group_norm.default", x, None, None, 2, 12, 4, half, 1e-5, out=outs)
    g.output(*groups, g.call("aten.add.Tensor", y, 1.0, size, out=(F32, (12,))))
    with g.load() as model:
        for n in (12, 4, 2, 8):
            expected = torch.native_group_norm(random(2, 12, 4), None, None, 2, 12, 4, n // 2, 1e-5)
            got = model.run(random(2, 12, 4), random(n))
            check_outputs(got, [*expected, random(n) + n], SUMS, f"{n}")


def test_constants_wait_for_no_number() -> None:
    """A weight is laid out by its groups, before any call has said how large they are."""
    packed, scales = random_weight(8, 64, 32, 0)
    g = GraphBuilder()
    x, group = g.input(F32, (2, 64)), g.symint_input()
    weight = g.constant(packed), g.constant(scales), group, None
    g.output(g.call("et_vk.linear_q4gsw.default", x, *weight, out=(F32, (2, 8))))
    says = (
        r"call 0 et_vk.linear_q4gsw.default: argument 3 \(value \d+\) is a SymInt, whose value is "
        "not known at load, where the call's constants are laid out"
    )
    with pytest.raises(ModelError, match=says):
        g.load()


def test_what_is_wrong_whatever_the_number() -> None:
    """An error at load stays one where no live number could mend it."""
    g = GraphBuilder()
    x, y = g.input(F32, (2, 3)), g.input(I32, (4,))
    g.output(g.call("aten.mm.default", x, y, out=(F32, (2, 4))))
    with pytest.raises(ModelError, match="products of float32 and int32 matrices"):
        g.load()
