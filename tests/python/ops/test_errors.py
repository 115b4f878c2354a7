"""Wrong use of a loaded delegate: one sentence that names the value, and the next call works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.capi import Model, ModelError
from support.cases import F16, F32, I32, I64, TIGHT, check_outputs
from support.delegate import GraphBuilder


@pytest.fixture
def scaled() -> Iterator[Model]:
    """(x [S <= 6, 4] f32, i [1] int) -> 2x and the rows of x from i on."""
    g = GraphBuilder()
    x = g.input(F32, (6, 4))
    i = g.input(I64, (1,))
    start = g.symint("et_vk.select_as_symint.default", i, 0, 0)
    length = g.symint("sym_size.int", x, 0)
    g.output(g.call("aten.add.Tensor", x, x, 1, out=(F32, (6, 4))))
    g.output(g.call("aten.slice_copy.Tensor", x, 0, start, length, 1, out=(F32, (6, 4))))
    with g.load() as model:
        works(model)
        yield model
        works(model)


def works(model: Model) -> None:
    for rows in (6, 1, 3):
        x = torch.randn(rows, 4)
        check_outputs(model.run(x, torch.tensor([0])), [2 * x, x], TIGHT)


ZERO = torch.tensor([0])


def test_more_rows_than_the_bound(scaled: Model) -> None:
    with pytest.raises(ModelError, match=r"7.*6"):
        scaled.run(torch.zeros(7, 4), ZERO)


def test_a_huge_size(scaled: Model) -> None:
    with pytest.raises(ModelError, match="1000000"):
        scaled.run(torch.zeros(1000000, 4), ZERO)


def test_another_rank(scaled: Model) -> None:
    with pytest.raises(ModelError, match=r"1, 6, 4|rank|dimensions"):
        scaled.run(torch.zeros(1, 6, 4), ZERO)


def test_another_dtype(scaled: Model) -> None:
    """Widths of floats are converted, as an export that narrows them needs; kinds are not."""
    for dtype in (I32, I64, torch.uint8, torch.bool):
        with pytest.raises(ModelError, match=r"input 0.*float32"):
            scaled.run(torch.zeros(6, 4, dtype=dtype), ZERO)


@pytest.mark.parametrize("dtype", [F16, torch.float64])
def test_another_width_of_float(scaled: Model, dtype: torch.dtype) -> None:
    x = torch.arange(24.0).reshape(6, 4)
    check_outputs(scaled.run(x.to(dtype), ZERO), [2 * x, x], TIGHT)


def test_a_float_where_a_position_belongs(scaled: Model) -> None:
    with pytest.raises(ModelError, match=r"(?i)float"):
        scaled.run(torch.zeros(6, 4), torch.zeros(1))


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**63 - 1])
def test_an_int64_that_does_not_fit(scaled: Model, value: int) -> None:
    with pytest.raises(ModelError, match=str(value)):
        scaled.run(torch.zeros(6, 4), torch.tensor([value]))


def test_the_number_of_inputs(scaled: Model) -> None:
    assert scaled.counts == (2, 2)
    for inputs in ([torch.zeros(6, 4)], [torch.zeros(6, 4), ZERO, ZERO], []):
        with pytest.raises(ModelError, match=f"{len(inputs)}|2"):
            scaled.run(*inputs)


def test_an_int32_position_is_taken_as_it_is(scaled: Model) -> None:
    x = torch.randn(4, 4)
    check_outputs(scaled.run(x, torch.tensor([3], dtype=I32)), [2 * x, x[3:]], TIGHT)


# --- Sizes that do not go together --------------------------------------------------------------


def test_live_sizes_that_do_not_broadcast() -> None:
    g = GraphBuilder()
    a, b = g.input(F32, (6, 4)), g.input(F32, (6, 4))
    g.output(g.call("aten.add.Tensor", a, b, 1, out=(F32, (6, 4))))
    with g.load() as model:
        with pytest.raises(ModelError, match=r"5.*3|3.*5"):
            model.run(torch.zeros(5, 4), torch.zeros(3, 4))
        check_outputs(
            model.run(torch.ones(5, 4), torch.ones(5, 4)), [torch.full((5, 4), 2.0)], TIGHT
        )


def test_inner_sizes_of_a_product_that_differ() -> None:
    g = GraphBuilder()
    a, b = g.input(F32, (6, 4)), g.input(F32, (4, 6))
    g.output(g.call("aten.mm.default", a, b, out=(F32, (6, 6))))
    with g.load() as model:
        with pytest.raises(ModelError, match=r"3.*2|2.*3"):
            model.run(torch.zeros(5, 3), torch.zeros(2, 6))
        check_outputs(
            model.run(torch.ones(2, 3), torch.ones(3, 1)), [torch.full((2, 1), 3.0)], TIGHT
        )


# --- The cache ----------------------------------------------------------------------------------


def cache_model() -> Model:
    g = GraphBuilder()
    q = g.input(F32, (1, 6, 2, 8))
    k, v = (g.input(F32, (1, 6, 1, 8)) for _ in range(2))
    pos = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    caches = [g.constant(torch.zeros(1, 10, 1, 8)) for _ in range(2)]
    args = (q, k, v, *caches, pos, 1, None, 0.0, True, None)
    g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, (1, 6, 2, 8))))
    return g.load()


def step(model: Model, at: int, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * at + rows)
    q, k, v = (torch.randn(1, rows, h, 8, generator=generator) for h in (2, 1, 1))
    return model.run(q, k, v, torch.tensor([at]))[0]


@pytest.mark.parametrize(("at", "rows"), [(10, 1), (7, 4), (5, 6), (1000, 1), (2**31 - 1, 1)])
def test_a_position_past_the_cache(at: int, rows: int) -> None:
    with cache_model() as model, cache_model() as undisturbed:
        for m in (model, undisturbed):
            step(m, 0, 4)
        with pytest.raises(ModelError, match=rf"{at}|{at + rows}") as caught:
            step(model, at, rows)
        assert "10" in str(caught.value)
        # The cache is as it was.
        assert torch.equal(step(model, 4, 2), step(undisturbed, 4, 2))


def test_a_negative_position() -> None:
    with cache_model() as model:
        step(model, 0, 3)
        with pytest.raises(ModelError, match="position -1 is negative"):
            step(model, -1, 1)
        assert step(model, 3, 1).isfinite().all()


def test_an_update_past_the_cache() -> None:
    g = GraphBuilder()
    rows = g.input(F32, (1, 4, 1, 2))
    pos = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    cache = g.prepack(torch.zeros(1, 5, 1, 2))
    g.call("update_cache.default", rows, cache, pos, out=(F32, (1,)))
    g.output(g.call("aten.clone.default", cache, None, out=(F32, (1, 5, 1, 2))))
    with g.load() as model:
        with pytest.raises(ModelError, match="5"):
            model.run(torch.ones(1, 4, 1, 2), torch.tensor([2]))
        expected = torch.zeros(1, 5, 1, 2)
        expected[:, 1:] = 1
        check_outputs(model.run(torch.ones(1, 4, 1, 2), torch.tensor([1])), [expected], TIGHT)


def test_a_slice_past_the_table() -> None:
    """The rows of a position table beyond its end: an error here, as it is in eager's narrow."""
    g = GraphBuilder()
    x = g.input(F32, (8, 1))
    pos = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    end = g.symint("add", pos, g.symint("sym_size.int", x, 0))
    table = g.prepack(torch.arange(32.0).reshape(16, 2))
    rows = g.call("aten.slice_copy.Tensor", table, 0, pos, end, 1, out=(F32, (8, 2)))
    g.output(g.call("aten.mul.Tensor", rows, x, out=(F32, (8, 2))))
    with g.load() as model:
        with pytest.raises(ModelError):
            model.run(torch.ones(5, 1), torch.tensor([13]))
        expected = torch.arange(32.0).reshape(16, 2)[11:]
        check_outputs(model.run(torch.ones(5, 1), torch.tensor([11])), [expected], TIGHT)


# --- Blobs that do not load ---------------------------------------------------------------------


def test_an_unknown_operator_is_named() -> None:
    g = GraphBuilder()
    g.output(g.call("made.up.default", g.input(F32, (2,)), out=(F32, (2,))))
    with pytest.raises(ModelError, match=r"made\.up\.default"):
        g.load()


def test_a_missing_constant_is_named() -> None:
    g = GraphBuilder()
    x = g.input(F32, (2,))
    g.output(g.call("aten.mul.Tensor", x, g.constant(torch.ones(2)), out=(F32, (2,))))
    delegate = g.delegate()
    (key,) = delegate.named
    delegate.named.clear()
    with pytest.raises(ModelError, match=key[:8]):
        delegate.load()


def test_a_constant_that_is_too_short() -> None:
    g = GraphBuilder()
    x = g.input(F32, (2,))
    g.output(g.call("aten.mul.Tensor", x, g.constant(torch.ones(2)), out=(F32, (2,))))
    delegate = g.delegate()
    delegate.named = {key: data[:4] for key, data in delegate.named.items()}
    with pytest.raises(ModelError, match=r"4|8"):
        delegate.load()


def test_an_output_that_cannot_hold_the_result() -> None:
    g = GraphBuilder()
    g.output(g.call("aten.neg.default", g.input(F32, (64,)), out=(F32, (64,))))
    delegate = g.delegate()
    delegate.output_capacities = [16]
    with delegate.load() as model:
        with pytest.raises(ModelError, match="256|64"):
            model.run(torch.zeros(64))
        check_outputs(model.run(torch.ones(4)), [-torch.ones(4)], TIGHT)


def test_an_argument_of_the_wrong_kind() -> None:
    g = GraphBuilder()
    x = g.input(F32, (4, 4))
    g.output(g.call("aten._softmax.default", x, "last", False, out=(F32, (4, 4))))
    with pytest.raises(ModelError, match=r"aten\._softmax\.default"):
        g.load()


def test_a_dimension_out_of_range() -> None:
    g = GraphBuilder()
    x = g.input(F32, (4, 4))
    g.output(g.call("aten._softmax.default", x, 2, False, out=(F32, (4, 4))))
    with pytest.raises(ModelError, match=r"aten\._softmax\.default.*2"):
        g.load()


def test_two_errors_of_two_models_do_not_mix() -> None:
    """An error of one model leaves another one's state and sentence alone."""
    with cache_model() as first, cache_model() as second:
        expected = step(first, 0, 2)
        with pytest.raises(ModelError):
            step(second, 11, 1)
        assert torch.equal(step(second, 0, 2), expected)


def test_many_loads_and_errors_do_not_leak_what_is_needed() -> None:
    g = GraphBuilder()
    x = g.input(F32, (5,))
    g.output(g.call("aten.mul.Tensor", x, g.constant(torch.full((5,), 3.0)), out=(F32, (5,))))
    delegate = g.delegate()
    broken = g.delegate()
    broken.named.clear()
    for round_ in range(50):
        with pytest.raises(ModelError):
            broken.load()
        with delegate.load() as model:
            live = torch.randn(round_ % 5 + 1)
            if live.numel() in (1, 5):
                check_outputs(model.run(live), [3 * live * torch.ones(5)], TIGHT)
            else:
                with pytest.raises(ModelError):
                    model.run(live)  # the constant's five elements do not broadcast
