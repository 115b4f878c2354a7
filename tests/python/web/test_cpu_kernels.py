"""What ExecuTorch's own kernels give, alone in programs: recorded for the page's kernels, which do
the same in TypeScript (web/src/cpu), and compared with eager PyTorch on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401  registers quantized_decomposed's kernels
import numpy as np
import pytest
import torch
from executorch.extension.pybindings.portable_lib import _get_operator_names
from executorch.runtime import Runtime
from support.case_files import Call, Case
from support.expected import Expected, Tolerance
from support.kernel_programs import Output, program
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

F32, F16, F64 = torch.float32, torch.float16, torch.float64
I32, I64, I8, U8, BOOL = torch.int32, torch.int64, torch.int8, torch.uint8, torch.bool
ALL = (F32, F16, F64, I64, I32, I8, U8, BOOL)
NUMBERS = (F32, F64, I64, I32, I8, U8)
SHAPES = ((), (1,), (7,), (0,), (2, 3), (3, 0, 2), (2, 1, 4), (2, 3, 4, 5))
PAIRS = (
    ((2, 3), (3,)),
    ((2, 1, 4), (1, 3, 1)),
    ((), (4,)),
    ((0, 3), (1,)),
    ((5,), (5,)),
    ((4, 1), (1, 0)),
    ((3, 2, 2), ()),
)
EXACT, ROUNDED, CLOSE = 0.0, 2e-7, 1e-6
INF, NAN = math.inf, math.nan
NO_DTYPE = None

generator = torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class Made:
    """One call of a kernel.

    Attributes:
        expected: outputs; eager's, found by the kernel's name unless they are given.
        relative: how far a float may be off, as a share of it; the same absolutely near zero.
        refusal: the sentence behind the kernel's name with which the page refuses it.
        portable: whether ExecuTorch's own kernel has to agree with eager.
        bound: what the output is recorded with where its sizes are dynamic.
    """

    arguments: tuple[Any, ...]
    expected: tuple[Any, ...] | None = None
    relative: float = EXACT
    refusal: str | None = None
    portable: bool = True
    bound: Sequence[int] | None = None


def some(shape: Sequence[int], dtype: torch.dtype = F32, *, plain: bool = False) -> Tensor:
    """Elements of all kinds, or without what is special among floats, and small integers."""
    if dtype == BOOL:
        return torch.rand(shape, generator=generator) > 0.5
    if not dtype.is_floating_point:
        low = 0 if dtype == U8 else -9
        return torch.randint(low, 10, shape, generator=generator).to(dtype)
    x = (torch.randn(shape, generator=generator) * 3).to(dtype)
    if not plain and x.numel() > 3:
        flat = x.flatten()
        flat[:3] = torch.tensor([NAN, -INF, -0.0])
        x = flat[torch.randperm(len(flat), generator=generator)].reshape(shape)
    return x


def whole(shape: Sequence[int], low: int, high: int, dtype: torch.dtype = I64) -> Tensor:
    return torch.randint(low, high, shape, generator=generator).to(dtype)


# --- Elements by themselves ---


def binary(dtypes: Sequence[torch.dtype], **kwargs: Any) -> Iterator[Made]:
    for (a, b), dtype in itertools.product(PAIRS, dtypes):
        yield Made((some(a, dtype), some(b, dtype)), **kwargs)
    for one, other in ((F32, I32), (I64, F32), (I32, I64), (BOOL, F32), (U8, I64)):
        if one in dtypes and other in dtypes:
            yield Made((some((2, 3), one), some((3,), other)), **kwargs)
            yield Made((some((2, 3), other), some((), one)), **kwargs)


def scaled(dtypes: Sequence[torch.dtype]) -> Iterator[Made]:
    """With a factor for the second operand."""
    for n, made in enumerate(binary(dtypes)):
        x, y = made.arguments
        factors = {F32: (1, 0.3, -2), F64: (1, 0.3), F16: (1, -2), U8: (1, 2)}
        factor = factors.get(torch.result_type(x, y), (1, -3))[n % 2]
        # Eager rounds once; ExecuTorch's own multiplies a first operand of one element instead.
        yield Made((x, y, factor), relative=CLOSE, portable=x.numel() > 1 or factor == 1)


def with_scalar(dtypes: Sequence[torch.dtype], *scalars: Any, **kwargs: Any) -> Iterator[Made]:
    for n, (dtype, scalar) in enumerate(itertools.product(dtypes, scalars)):
        yield Made((some(SHAPES[n % len(SHAPES)], dtype), scalar), **kwargs)
        yield Made((some((2, 5), dtype), scalar), **kwargs)


def taken_from_a_scalar() -> Iterator[Made]:
    for made in with_scalar((F32, I64, I32), 3):
        yield Made((*made.arguments, 2))
    # Products of more bits than doubles have.
    for dtype in (I32, I64):
        yield Made((torch.tensor([2**31 - 1, 5 - 2**31], dtype=dtype), 3, 2**30 + 1))


def unary(dtypes: Sequence[torch.dtype], **kwargs: Any) -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, dtypes):
        yield Made((some(shape, dtype),), **kwargs)


def dividing(
    makes: Iterator[Made], portable: Callable[[torch.dtype], bool] = bool
) -> Iterator[Made]:
    """Without integers that are divided by zero.

    Args:
        portable: for which dtypes ExecuTorch's own kernel agrees with eager.
    """
    for made in makes:
        x, y = made.arguments[:2]
        if isinstance(y, Tensor) and not (x.is_floating_point() or y.is_floating_point()):
            y = torch.where(y == 0, torch.ones_like(y), y)
        agrees = portable(torch.result_type(x, y))
        yield Made((x, y, *made.arguments[2:]), relative=made.relative, portable=agrees)


def is_integer(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point


def clamped() -> Iterator[Made]:
    for n, dtype in enumerate((F32, I32, I64, U8, F64)):
        low, high = (-1.5, 2.0) if dtype.is_floating_point else (1, 3)
        x = some(SHAPES[4 + n % 4], dtype)
        yield from (Made((x, low, high)), Made((x, low, None)), Made((x, None, high)))
        yield Made((x, high, low))


def clamped_by_tensors() -> Iterator[Made]:
    for (a, b), dtype in itertools.product(PAIRS[:3], (F32, I64)):
        x, bound = some(a, dtype, plain=True), some(b, dtype, plain=True)
        yield Made((x, bound, bound + 2))
        yield Made((x, None, bound))


def chosen() -> Iterator[Made]:
    for (a, b), dtype in itertools.product(PAIRS, (F32, I64, BOOL, U8, F16)):
        yield Made((some(a, BOOL), some(b, dtype), some((), dtype)))
        yield Made((some(b, BOOL), some(a, dtype), some(b, dtype)))
    yield Made((some((2, 2), BOOL), some((2, 2), F32), some((2,), I64)))


def filled_by_mask() -> Iterator[Made]:
    for (a, b), dtype in itertools.product(PAIRS, (F32, I64, F16)):
        for value in (-INF, 3.5) if dtype.is_floating_point else (7,):
            yield Made((some(a, dtype), some(b, BOOL), value))


def casts() -> Iterator[Made]:
    for one, other in itertools.product(ALL, ALL):
        x = some((3, 4), one, plain=not other.is_floating_point and other != BOOL)
        yield Made((x, False, None), (x.to(other),))
    # What does not fit, and what is no number, is what C++ makes of it on x86; eager the same.
    wild = torch.tensor([NAN, INF, -INF, 3e9, -3e9, 2.0**31, -(2.0**31), 300.7, -300.7, 1e30])
    for dtype, fits in ((I32, 2**31), (I64, 2**63)):
        made = [int(v) if abs(v) < fits else -fits for v in wild.nan_to_num(INF).tolist() if True]
        made = [-fits if v == fits else v for v in made]
        made = [int(v) if math.isfinite(v) and -fits <= v < fits else -fits for v in wild.tolist()]
        yield Made((wild, False, None), (torch.tensor(made, dtype=dtype),), portable=dtype == I64)


# --- Movement ---


def dims_of(shape: Sequence[int]) -> range:
    return range(-len(shape), len(shape))


def permuted() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES[1:], (F32, I64, BOOL)):
        for order in itertools.islice(itertools.permutations(range(len(shape))), 0, 24, 5):
            negative = [d - len(shape) if n % 2 else d for n, d in enumerate(order)]
            yield Made((some(shape, dtype), negative))


def transposed() -> Iterator[Made]:
    for shape in SHAPES[1:]:
        for a, b in itertools.islice(itertools.product(dims_of(shape), repeat=2), 0, 40, 3):
            yield Made((some(shape), a, b))


def sliced() -> Iterator[Made]:
    ends = ((None, None, 1), (1, 3, 1), (-2, 2**63 - 1, 1), (0, -1, 2), (5, 2, 1), (-99, 99, 3))
    for shape, (begin, end, step) in itertools.product(((5,), (2, 3), (3, 0, 2), (2, 6, 4)), ends):
        for dim in (0, -1):
            yield Made((some(shape, I64), dim, begin, end, step))


def slice_written() -> Iterator[Made]:
    for shape, (begin, end, step) in itertools.product(
        ((5,), (2, 6), (2, 6, 3)), ((None, None, 1), (1, 3, 1), (-3, 2**63 - 1, 1), (0, 5, 2))
    ):
        for dim, dtype in ((-1, F32), (0, I8)):
            x = some(shape, dtype)
            index = [slice(None)] * len(shape)
            index[dim] = slice(begin, end, step)
            yield Made((x, some(x[tuple(index)].shape, dtype), dim, begin, end, step))


def selected() -> Iterator[Made]:
    for shape in ((5,), (2, 3), (2, 1, 4)):
        for dim in dims_of(shape):
            yield Made((some(shape, F16), dim, 0))
            yield Made((some(shape, I32), dim, -1))
    yield Made(
        (some((2, 3)), 1, 3), refusal="index 3 is out of range of dimension 1, whose size is 3"
    )


def select_written() -> Iterator[Made]:
    for dim, index in ((0, 1), (-1, -2), (1, 0)):
        x = some((2, 3, 4))
        yield Made((x, some(x.select(dim, index).shape), dim, index))


def joined() -> Iterator[Made]:
    for dtype in (F32, I64, BOOL, U8):
        yield Made(([some((2, 3), dtype), some((1, 3), dtype), some((0, 3), dtype)], 0))
        yield Made(([some((2, 3), dtype), some((2, 1), dtype)], -1))
        yield Made(([some((0,), dtype), some((2, 2), dtype)], 1))
        yield Made(([some((3,), dtype)], 0))
    yield Made(([some((2, 1, 3), F16), some((2, 4, 3), F16)], 1))
    yield Made(([some((2,), F32), some((3,), I64)], 0))
    yield Made(
        ([some((2, 3)), some((2, 2))], 0),
        refusal="sizes [2,2] do not continue [2,3] in dimension 0",
    )


def stacked() -> Iterator[Made]:
    for dtype, dim in itertools.product((F32, I64), (0, 1, -1, -3)):
        yield Made(([some((2, 3), dtype) for _ in range(3)], dim))
    yield Made(([some(()), some(())], 0))


def split() -> Iterator[Made]:
    for dim in (0, -1, 1):
        x = some((4, 4, 4), I64)
        yield Made((x, [1, 0, 3], dim), tuple(x.split([1, 0, 3], dim)))


def split_evenly() -> Iterator[Made]:
    for each, dim in ((1, 0), (3, -1), (9, 1)):
        x = some((4, 5, 3))
        yield Made((x, each, dim), tuple(x.split(each, dim)))


def unbound() -> Iterator[Made]:
    for dim in (0, -1, 1):
        x = some((2, 3, 4), I8)
        yield Made((x, dim), tuple(x.unbind(dim)))


def expanded() -> Iterator[Made]:
    for shape, to in (
        ((3, 1), (2, 3, 4)),
        ((), (2, 2)),
        ((1, 4), (-1, -1)),
        ((1, 4), (5, -1)),
        ((1, 0), (3, 0)),
        ((2, 1, 3), (2, 0, 3)),
        ((1,), (9,)),
        ((2, 3), (4, 2, 3)),
    ):
        yield Made((some(shape), to))
        yield Made((some(shape, I64), to))
    yield Made((some((2, 3)), (2, 4)), (some((2, 4)),), refusal="sizes [2,3] cannot become [2,4]")


def viewed() -> Iterator[Made]:
    for shape, to in (
        ((2, 6), (3, 4)),
        ((2, 6), (-1, 3)),
        ((), (1, 1)),
        ((0, 3), (3, 0)),
        ((2, 3, 4), (-1,)),
        ((1,), ()),
    ):
        yield Made((some(shape), to))
        yield Made((some(shape, BOOL), to))
    refusal = "sizes [2,3] cannot be seen as [4,-1]"
    yield Made((some((2, 3)), (4, -1)), (some((4, 1)),), refusal=refusal)


def squeezed(listed: bool) -> Iterator[Made]:
    for dim in (0, 1, -1, -2):
        yield Made((some((1, 3, 1)), [dim] if listed else dim))
    if listed:
        yield Made((some((1, 3, 1)), [0, -1]))
        yield Made((some((1, 1, 1), I64), [0, 1, 2]))


def unsqueezed() -> Iterator[Made]:
    for dim in (0, 1, 2, -1, -3):
        yield Made((some((2, 3), I32), dim))
    yield Made((some(()), -1))


def copies() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, (F32, I64)):
        yield Made((some(shape, dtype),))


def copied() -> Iterator[Made]:
    for (a, b), dtype in itertools.product((((2, 3), (3,)), ((2, 3), (2, 3)), ((4,), ())), ALL):
        x = some(a, dtype)
        y = some(b, I32)
        yield Made((x, y, False), (y.to(dtype).expand(a).contiguous(),))
    refusal = "sizes [2,3] and [3,2] do not go together"
    yield Made((some((2, 3)), some((3, 2)), False), (some((2, 3)),), refusal=refusal)


def repeated() -> Iterator[Made]:
    for shape, times in (
        ((3,), (2, 2)),
        ((2, 3), (1, 2)),
        ((2, 3), (0, 2)),
        ((), (4,)),
        ((2, 1), (2, 3, 2)),
    ):
        yield Made((some(shape, I64), times))
        yield Made((some(shape, F32), times))


def flipped() -> Iterator[Made]:
    for shape in SHAPES[1:]:
        yield Made((some(shape), [0]))
        yield Made((some(shape, I64), list({0, -1}) if len(shape) > 1 else [-1]))


def padded() -> Iterator[Made]:
    for shape, pads in (
        ((3,), (1, 2)),
        ((2, 3), (0, 1)),
        ((2, 3), (1, 1, 2, 0)),
        ((2, 3, 4), (-1, -1, 1, 0)),
        ((2, 5), (-2, 3)),
        ((0, 2), (0, 0, 1, 1)),
    ):
        # ExecuTorch's own does not take away.
        yield Made((some(shape), pads, 2.5), portable=min(pads) >= 0)
        yield Made((some(shape, I64), pads, 3), portable=min(pads) >= 0)


def triangles() -> Iterator[Made]:
    for shape, diagonal in itertools.product(((3, 4), (4, 3), (2, 3, 3)), (0, -1, 2, -9)):
        yield Made((some(shape, I64), diagonal))
        yield Made((some(shape, F32, plain=True), diagonal))


def at_strides() -> Iterator[Made]:
    for sizes, strides, offset in (
        ((2, 3), (3, 1), None),
        ((3, 2), (1, 3), 0),
        ((2, 2), (0, 1), 3),
        ((1, 6, 1, 1), (6, 1, 6, 6), None),
    ):
        yield Made((some((6,)), sizes, strides, offset))
        yield Made((some((2, 3), I64), sizes, strides, offset))
    refusal = "elements up to 7 are wanted of 6"
    yield Made((some((6,)), (4,), (2,), 1), (some((4,)),), refusal=refusal)


def numbers_of(*sizes: Sequence[int]) -> Iterator[Made]:
    for shape, dtype in itertools.product(sizes, (F32, I64, BOOL, U8, F16)):
        value = -INF if dtype.is_floating_point else 1
        yield Made((shape, value), (torch.full(shape, value, dtype=dtype),))


def alike() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, (F32, I64, BOOL)):
        value = 0.1 if dtype.is_floating_point else 1
        expected = torch.full(shape, value, dtype=dtype)
        yield Made((some(shape), value, None), (expected,))


def same_filled() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, (F32, I64, F16)):
        yield Made((some(shape, dtype), 2.5 if dtype.is_floating_point else -3))


def single() -> Iterator[Made]:
    for value, dtype in (
        (-INF, F32),
        (0.1, F16),
        (3, I64),
        (2**60 + 1, I64),
        (True, BOOL),
        (-7, I8),
    ):
        yield Made((value,), (torch.tensor(value, dtype=dtype),))


def constant(make: Callable[..., Tensor], *more: Any) -> Iterator[Made]:
    for shape, dtype in itertools.product(((), (2, 3), (0, 2)), (F32, I64, BOOL)):
        yield Made((shape, *more), (make(shape, dtype=dtype),))


def ranges() -> Iterator[Made]:
    for end, dtype in ((5, I64), (0, I64), (4.5, F32), (7, I32)):
        yield Made((end,), (torch.arange(end, dtype=dtype),), bound=(9,))


def begun_ranges() -> Iterator[Made]:
    for begin, end, step, dtype in (
        (2, 9, 1, I64),
        (9, 2, -3, I64),
        (0.5, 2.0, 0.25, F32),
        (-3, 3, 2, I32),
        (1, 1, 1, I64),
    ):
        yield Made((begin, end, step), (torch.arange(begin, end, step, dtype=dtype),), bound=(9,))
    refusal = "its output would have sizes [10], but the program has room for [9]"
    yield Made((0, 10, 1), (torch.arange(9),), refusal=refusal, bound=(9,))


# --- Reductions ---


def truths_along() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, (BOOL, F32, I64, U8, F16)):
        for dim in dims_of(shape) if shape else (-1, 0):
            yield Made((some(shape, dtype), dim, dim % 2 == 0))


def truths_of_dims() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES[4:], (BOOL, F32)):
        yield Made((some(shape, dtype), [0, -1], True))
        yield Made((some(shape, dtype), [1], False))
        yield Made((some(shape, dtype), None, False))


def along(
    dtypes: Sequence[torch.dtype],
    *more: Any,
    plain: bool = False,
    empty: bool = True,
    relative: float = EXACT,
):
    for shape, dtype in itertools.product(SHAPES[1:], dtypes):
        for dim in dims_of(shape):
            if shape[dim] or empty:
                x = some(shape, dtype, plain=plain)
                arguments = (x, dim, *(more if more else (dim % 2 == 0,)))
                # ExecuTorch's own _log_softmax of nothing ends the process.
                yield Made(arguments, relative=relative, portable=x.numel() > 0)


def totals(dtypes: Sequence[torch.dtype]) -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, dtypes):
        x = some(shape, dtype, plain=True)
        yield Made((x, None, False, None), relative=CLOSE)
        for dim in dims_of(shape):
            yield Made((x, [dim], dim % 2 == 0, None), relative=CLOSE)
        if len(shape) > 1:
            yield Made((x, [0, -1], True, None), relative=CLOSE)


def extremes() -> Iterator[Made]:
    for shape, dtype in itertools.product(((5,), (2, 3), (2, 3, 4, 5)), (F32, I64, U8)):
        yield Made((some(shape, dtype), [], False))
        for dim in dims_of(shape):
            yield Made((some(shape, dtype), [dim], dim % 2 == 0))


def whole_extremes() -> Iterator[Made]:
    for shape, dtype in itertools.product(((5,), (2, 3)), (F32, I64, U8)):
        yield Made((some(shape, dtype),))


def placed() -> Iterator[Made]:
    for shape, dtype in itertools.product(((5,), (2, 3), (2, 3, 4)), (F32, I64, I32, U8)):
        yield Made((some(shape, dtype), None, False))
        for dim in dims_of(shape):
            yield Made((some(shape, dtype), dim, dim % 2 == 0))


def cumulated() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES[1:], (F32, I64, I32)):
        for dim in dims_of(shape):
            x = some(shape, dtype, plain=True)
            expected = torch.cumsum(x, dim)
            yield Made((x, dim, NO_DTYPE), (expected,), relative=CLOSE)


def normed() -> Iterator[Made]:
    for shape, last in (((4,), 1), ((2, 3), 1), ((2, 3, 5), 2), ((2, 3, 8), 1)):
        own = shape[-last:]
        weight, bias = some(own, plain=True), some(own, plain=True)
        x = some(shape, plain=True)
        for w, b in ((weight, bias), (None, None), (weight, None)):
            yield Made((x, own, w, b, 1e-5), relative=1e-5)


def products(batch: Sequence[int]) -> Iterator[Made]:
    for n, k, m in ((2, 3, 4), (1, 5, 1), (3, 0, 2), (4, 16, 3)):
        a, b = some((*batch, n, k), plain=True), some((*batch, k, m), plain=True)
        yield Made((a, b), relative=1e-5)


def sums_of_products() -> Iterator[Made]:
    for bias in ((4,), (2, 4), (1, 1)):
        a, b = some((2, 3), plain=True), some((3, 4), plain=True)
        yield Made((some(bias, plain=True), a, b, 1, 1), relative=1e-5)
        yield Made((some(bias, plain=True), a, b, 0.5, 2.0), relative=1e-5)
    yield Made((some((4,), I64), some((2, 3), I64), some((3, 4), I64), 3, -2))


def largest() -> Iterator[Made]:
    for k, dim, big in ((1, -1, True), (3, 0, False), (0, 1, True), (2, -2, True)):
        x = torch.randperm(4 * 4, generator=generator).reshape(4, 4).to(F32)
        yield Made((x, k, dim, big, True))


# --- Indices ---


def indexed() -> Iterator[Made]:
    x = some((3, 4, 5))
    for indices in (
        [whole((2,), -3, 3)],
        [None, whole((3,), 0, 4)],
        [whole((2, 1), 0, 3), whole((3,), -4, 4)],
        [whole((2,), 0, 3), None, whole((2,), 0, 5)],
        [None, whole((2, 2), 0, 4), whole((2,), 0, 5, I32)],
        [whole((), 0, 3)],
        [whole((0,), 0, 3)],
        [some((3,), BOOL)],
        [None, some((4, 5), BOOL)],
        [some((3, 4), BOOL), None],
        [whole((1, 1), 0, 3), whole((1, 6), 0, 4), whole((2, 1), 0, 5)],
    ):
        for dtype in (F32, I64, BOOL):
            yield Made((x.to(dtype), indices))
    yield Made((some((2, 0)), [whole((3,), 0, 2)]))
    apart = [None, whole((2,), 0, 3), None, whole((2,), 0, 5)]
    yield Made((some((2, 3, 4, 5)), apart))
    for bad in (4, -4, 2**40):
        refusal = f"index {bad} is out of range of dimension 0, whose size is 3"
        yield Made((x, [torch.tensor([0, bad])]), (x[:2],), refusal=refusal)
    refusal = "sizes [2] and [3] do not go together"
    made = (x, [whole((2,), 0, 3), whole((3,), 0, 4)])
    yield Made(made, (some((3, 5)),), refusal=refusal)


def index_written(dtypes: Sequence[torch.dtype] = (F32, I64, F16)) -> Iterator[Made]:
    for dtype in dtypes:
        x = some((3, 4, 5), dtype, plain=True)
        for indices in (
            [torch.tensor([2, 0])],
            [None, torch.tensor([-1, 1])],
            [torch.tensor([1, 2]), None, torch.tensor([3, 0])],
            [None, None, torch.tensor([4])],
            [torch.tensor([], dtype=I64)],
        ):
            shape = x[tuple(slice(None) if i is None else i for i in indices)].shape
            for accumulate in (False, True):
                yield Made((x, indices, some(shape, dtype, plain=True), accumulate))
            yield Made((x, indices, some((), dtype, plain=True), False))
    x = some((3, 4), plain=True)
    yield Made((x, [torch.tensor([1, 1, 1])], some((3, 4), plain=True), True))
    refusal = "index 3 is out of range of dimension 0, whose size is 3"
    yield Made((x, [torch.tensor([3])], some((1, 4)), False), (x,), refusal=refusal)


def items_written() -> Iterator[Made]:
    for at, dtype in ((0, F32), (2, F32), (1, I64)):
        x, item = some((3, 2), dtype), some((2,), dtype)
        # As many as there are up to the item.
        yield Made((x, item, at), (x.index_put((torch.tensor(at),), item)[: at + 1],))


def gathered() -> Iterator[Made]:
    for shape, own, dim in (
        ((3, 4), (2, 4), 0),
        ((3, 4), (3, 2), -1),
        ((2, 3, 4), (1, 5, 2), 1),
        ((5,), (0,), 0),
        ((5,), (7,), -1),
    ):
        index = whole(own, 0, shape[dim])
        yield Made((some(shape), dim, index, False))
        yield Made((some(shape, I64), dim, index, False))
    refusal = "index -1 is out of range of dimension 0, whose size is 3"
    made = (some((3,)), 0, torch.tensor([-1]), False)
    yield Made(made, (some((1,)),), refusal=refusal)


def scattered(number: bool) -> Iterator[Made]:
    for shape, own, dim in (((3, 4), (2, 4), 0), ((3, 4), (3, 2), -1), ((2, 3, 4), (1, 2, 2), 1)):
        ranks = torch.rand(shape, generator=generator).argsort(dim)
        index = ranks[tuple(slice(size) for size in own)].contiguous()  # none twice
        for dtype in (F32, I64):
            source = (2.5 if dtype == F32 else 7) if number else some(own, dtype, plain=True)
            yield Made((some(shape, dtype, plain=True), dim, index, source))


def added_up() -> Iterator[Made]:
    for dtype in (F32, I64, F16):
        x, index = some((3, 4), dtype, plain=True), whole((2, 4), 0, 3)
        yield Made(
            (x, 0, index, some((2, 4), dtype, plain=True)), relative=1e-3 if dtype == F16 else CLOSE
        )


def index_selected() -> Iterator[Made]:
    for shape, dim in (((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1)):
        yield Made((some(shape), dim, whole((5,), 0, shape[dim])))
        yield Made((some(shape, I64), dim, whole((0,), 0, 1)))


def embedded() -> Iterator[Made]:
    for shape in ((), (3,), (2, 4), (0,)):
        yield Made((some((6, 5)), whole(shape, 0, 6), -1, False, False))
        yield Made((some((6, 5)), whole(shape, 0, 6, I32), -1, False, False))
    refusal = "index 6 is out of range of dimension 0, whose size is 6"
    made = (some((6, 5)), torch.tensor([6]), -1, False, False)
    yield Made(made, (some((1, 5)),), refusal=refusal)


# --- Windows ---


def convolved() -> Iterator[Made]:
    """Of one dimension and two, forwards and backwards, in groups, of any stride and dilation."""
    forms = (
        ((1, 1), (0, 0), (1, 1)),
        ((2, 3), (1, 2), (1, 1)),
        ((1, 2), (2, 0), (2, 3)),
    )
    for rank, (stride, padding, dilation), back, (groups, bias) in itertools.product(
        (1, 2), forms, (False, True), ((1, True), (2, False), (4, True))
    ):
        for dtype in (F32, F64) if groups == 1 else (F32,):
            x = some((2, 4, 11, 9)[: rank + 2], dtype, plain=True)
            to = 4 // groups if back else 8
            weight = some((4 if back else to, to if back else 4 // groups, 3, 2)[: rank + 2], dtype)
            weight = torch.nan_to_num(weight, 1.0, 1.0, -1.0)
            more = [int(back and s > 1) for s in stride[:rank]]
            numbers = (list(stride[:rank]), list(padding[:rank]), list(dilation[:rank]), back, more)
            channels = to * groups if back else to
            adds = some((channels,), dtype, plain=True) if bias else None
            yield Made((x, weight, adds, *numbers, groups), relative=CLOSE * 10)
    sizes = "x is float32 [1,2,3,3,3] and its weight [2,2,1,1,1]"
    refusal = f"{sizes}, but convolutions of floats over one or two dimensions are there"
    solid = (some((1, 2, 3, 3, 3)), some((2, 2, 1, 1, 1)), None)
    ones, none = [1, 1, 1], [0, 0, 0]
    yield Made((*solid, ones, none, ones, False, none, 1), refusal=refusal)


POOLS = (
    ([2, 2], [], [0, 0]),
    ([3, 2], [2, 1], [1, 0]),
    ([3, 3], [2, 2], [1, 1]),
    ([4, 5], [3, 4], [2, 2]),
)


def averaged() -> Iterator[Made]:
    for (kernel, stride, padding), ceil, counts, divisor in itertools.product(
        POOLS, (False, True), (False, True), (None, 3)
    ):
        x = some((2, 3, 9, 8) if ceil else (3, 9, 8), F64 if counts else F32, plain=True)
        yield Made((x, kernel, stride, padding, ceil, counts, divisor), relative=CLOSE)
    refusal = "2 elements, 1 apart, at strides of 0 are no windows"
    yield Made((x, [2, 2], [0, 1], [0, 0], False, True, None), refusal=refusal)


def averaged_to_sizes() -> Iterator[Made]:
    for shape, sizes in itertools.product(((2, 3, 9, 8), (3, 5, 4)), ([1, 1], [4, 3], [9, 11])):
        yield Made((some(shape, plain=True), sizes), relative=CLOSE)


def largest_in_windows() -> Iterator[Made]:
    for (kernel, stride, padding), ceil, dilation in itertools.product(
        POOLS[:3], (False, True), ([1, 1], [2, 1])
    ):
        for dtype in (F32, F64):
            x = some((2, 3, 9, 8), dtype, plain=dtype == F64)
            # ExecuTorch's own loses NaN where something follows it.
            made = (x, kernel, stride, padding, dilation, ceil)
            yield Made(made, portable=not x.isnan().any())


def places_of_what_is_there() -> Iterator[Made]:
    for shape, dtype in itertools.product(SHAPES, (F32, I64, BOOL, U8)):
        x = some(shape, dtype)
        yield Made((x,), bound=(x.numel(), x.dim()))


# --- 8 bits ---


def embedded_bytes(bits: int, names: bool) -> Iterator[Made]:
    op = {8: "embedding_byte", 4: "embedding_4bit", 2: "embedding_2bit"}[bits]
    eager = getattr(torch.ops.quantized_decomposed, op)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for groups, shape, zeros in itertools.product((None, 2), ((3,), (2, 2), (0,)), (False, True)):
        stored = torch.int8 if bits == 8 else torch.uint8
        columns = 8 * bits // 8
        info = torch.iinfo(stored)
        weight = whole((6, columns), info.min, info.max + 1, stored)
        scales = torch.rand((6,) if groups is None else (6, groups), generator=generator)
        points = torch.randint(-3, 4, scales.shape, generator=generator).float() if zeros else None
        tokens = whole(shape, 0, 6)
        arguments = (weight, scales, points, low, high, tokens)
        if zeros and bits != 8:
            continue  # eager has none there
        if names:
            expected = eager.dtype(*arguments, dtype=F32)
            yield Made((*arguments, F32), (expected,), relative=CLOSE)
        else:
            yield Made(arguments, (eager(*arguments),), relative=CLOSE)
    refusal = "index 6 is out of range of a table of 6 rows"
    arguments = (weight, scales, None, low, high, torch.tensor([6]))
    more = (F32,) if names else ()
    yield Made((*arguments, *more), (some((1, 8)),), refusal=refusal)


def quantized(form: str, back: bool) -> Iterator[Made]:
    eager = torch.ops.quantized_decomposed
    for shape, (dtype, low, high) in itertools.product(
        ((7,), (2, 3), (2, 3, 4)), ((I8, -128, 127), (U8, 0, 255))
    ):
        x = some(shape, F32, plain=True) * 20
        axis = len(shape) - 1
        count = {"per_tensor": 1, "per_channel": shape[axis], "per_token": math.prod(shape[:-1])}
        scales = torch.rand(count[form.split(".")[0]], generator=generator) + 0.1
        points = torch.randint(0, 9, scales.shape, generator=generator)
        if form == "per_tensor":
            own: tuple[Any, ...] = (scales.item(), int(points.item()))
        elif form == "per_channel":
            own = (scales.double(), points, axis)
        elif form == "per_token":
            own = (scales.reshape(*shape[:-1], 1).double(), points.reshape(*shape[:-1], 1))
        else:
            own = (scales.double(), points)
        how = form.partition(".")[0]
        overload = "tensor" if form.endswith("Tensor") else "default"
        q = getattr(getattr(eager, f"quantize_{how}"), overload)(x, *own, low, high, dtype)
        if not back:
            yield Made((x, *own, low, high, dtype), (q,))
            continue
        extra = () if how != "per_token" else (F32,)
        y = getattr(getattr(eager, f"dequantize_{how}"), overload)(
            q, *own, low, high, dtype, *extra
        )
        yield Made((q, *own, low, high, dtype, *(extra or (None,))), (y,), relative=CLOSE)


# --- Attention over a cache ---

# Batch, positions of the cache, heads of queries and of keys, width; queries, and where they begin.
ATTENTIONS = (
    ((1, 9, 2, 2, 8), 1, 0),
    ((1, 9, 4, 2, 8), 3, 0),
    ((2, 9, 4, 1, 6), 2, 7),
    ((1, 40, 6, 3, 5), 33, 4),
    ((1, 600, 2, 1, 4), 2, 597),  # ExecuTorch's own takes 512 keys at a time
)


def seen(cached: int, queries: int, start: int, how: str) -> Tensor | None:
    """What is added to scores [queries, keys]."""
    if how == "mask":
        hidden = torch.rand(queries, cached, generator=generator) > 0.7
        hidden[:, start] = False
        return torch.randn(queries, cached, generator=generator).masked_fill(hidden, -INF)
    keys = torch.arange(cached)
    last = start + torch.arange(queries)[:, None] if how == "causal" else start + queries - 1
    return torch.zeros(queries, cached).masked_fill(keys > last, -INF)


def attended(in_bytes: bool) -> Iterator[Made]:
    forms = itertools.product(ATTENTIONS, ("causal", "mask", "all"), (False, True))
    for n, ((sizes, queries, start), how, scaled) in enumerate(forms):
        batch, cached, heads, own, width = sizes
        shapes = [(batch, queries, heads, width), *[(batch, cached, own, width)] * 2]
        behind = in_bytes and n % 2 == 1
        if behind:
            shapes = [(b, h, s, d) for b, s, h, d in shapes]
        parts = [in_eight_bits(shape) if in_bytes else some(shape, plain=True) for shape in shapes]
        q, k, v = [(x - zero.float()) * scale for x, zero, scale in parts] if in_bytes else parts
        if not behind:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        added, scale = seen(cached, queries, start, how), 0.3 if scaled else None
        expected = scaled_dot_product_attention(
            q, k, v, attn_mask=added, scale=scale, enable_gqa=True
        )
        how_seen = (added if how == "mask" else None, 0.0, how == "causal", scale)
        if in_bytes:
            values = [part[0] for part in parts]
            more = [*itertools.chain(*(part[1:] for part in parts)), behind]
        else:
            values, more = parts, []
        if not behind:
            expected = expected.transpose(1, 2)
        yield Made((*values, start, *how_seen, *more), (expected,), relative=2e-5)
    past = (*values, cached, *how_seen, *more)
    refusal = f"positions {cached} to {cached + queries} do not fit a cache of {cached}"
    yield Made(past, (expected,), refusal=refusal)


def in_eight_bits(shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Bytes with a zero point and a scale for each row."""
    rows = (*shape[:-1], 1)
    x = whole(shape, -128, 128, I8)
    return x, whole(rows, -20, 20, I8), torch.rand(rows, generator=generator) / 64 + 0.001


# --- Numbers ---


def numbers(f: Callable[[Any, Any], Any], *, floats: bool = True) -> Iterator[Made]:
    for a, b in ((7, 2), (-7, 2), (7, -3), (2**40, 3), (0, 1)):
        yield Made((a, b), (f(a, b),))
    for a, b in ((1.5, 2.25), (-3.0, 0.5)) if floats else ():
        yield Made((a, b), (f(a, b),))


def number(f: Callable[[Any], Any], *values: Any) -> Iterator[Made]:
    for value in values:
        yield Made((value,), (f(value),))


def sizes_of() -> Iterator[Made]:
    for dim in (0, 1, -1):  # of which ExecuTorch's own ends the process
        x = some((2, 3, 4))
        yield Made((x, dim), (x.shape[dim],), portable=dim >= 0)


def first_elements() -> Iterator[Made]:
    for value, dtype in ((5, I64), (-3, I32), (1.5, F32), (True, BOOL)):
        yield Made((torch.tensor([value], dtype=dtype),), (value,))
    # ExecuTorch's own takes none.
    yield Made((torch.tensor([1.5], dtype=F16),), (1.5,), portable=False)


A, Q, P = "aten::", "quantized_decomposed::", "executorch_prim::"
FLOATS = (F32, F64, I64, BOOL)
KERNELS: dict[str, Callable[[], Iterator[Made]]] = {
    A + "add.out": lambda: scaled((*NUMBERS, F16)),
    A + "add.Scalar_out": lambda: (Made((*m.arguments, 1)) for m in with_scalar(NUMBERS, 2, -3)),
    A + "sub.out": lambda: scaled(NUMBERS),
    A + "sub.Scalar_out": lambda: (Made((*m.arguments, 2)) for m in with_scalar(NUMBERS, 2, 5)),
    A + "rsub.Scalar_out": taken_from_a_scalar,
    A + "mul.out": lambda: binary((*NUMBERS, F16, BOOL)),
    A + "mul.Scalar_out": lambda: with_scalar((*NUMBERS, F16), 0.42044820762685725, 3, -1),
    # Of one divisor ExecuTorch's own multiplies with the reciprocal.
    A + "div.out": lambda: binary(NUMBERS, relative=ROUNDED),
    A + "div.Scalar_out": lambda: with_scalar(NUMBERS, 3, 0.7, relative=ROUNDED),
    A + "div.out_mode": lambda: (
        Made((*m.arguments, mode), relative=ROUNDED, portable=m.portable or mode != "floor")
        for mode in (None, "floor", "trunc")
        for m in dividing(binary(NUMBERS), is_integer)
    ),
    A + "div.Scalar_mode_out": lambda: (
        Made((*m.arguments, mode))
        for mode in ("floor", "trunc")
        for m in with_scalar((F32, I64, I32), 3, -2)
    ),
    # ExecuTorch's own forgets the sign of a zero that it divides by, and has C's remainders.
    A + "floor_divide.out": lambda: dividing(binary((F32, I64, I32)), is_integer),
    A + "remainder.Tensor_out": lambda: dividing(
        binary((F32, F64, I64, I32)), lambda dtype: not is_integer(dtype)
    ),
    A + "remainder.Scalar_out": lambda: (
        Made(m.arguments, portable=not is_integer(m.arguments[0].dtype))
        for m in with_scalar((F32, I64, I32), 3, -4)
    ),
    A + "fmod.Tensor_out": lambda: dividing(binary((F32, F64, I64, I32))),
    A + "fmod.Scalar_out": lambda: with_scalar((F32, I64, I32), 3, 28),
    A + "pow.Tensor_Tensor_out": lambda: binary((F32,), relative=CLOSE),
    A + "pow.Tensor_Scalar_out": lambda: with_scalar((F32, I64), 2, 3, relative=CLOSE),
    A + "minimum.out": lambda: binary((*NUMBERS, BOOL)),
    A + "maximum.out": lambda: binary((*NUMBERS, F16)),
    A + "bitwise_and.Tensor_out": lambda: binary((I64, I32, U8, BOOL)),
    A + "bitwise_or.Tensor_out": lambda: binary((I64, I32, I8, BOOL)),
    A + "bitwise_xor.Tensor_out": lambda: binary((I64, I32, U8, BOOL)),
    A + "bitwise_and.Scalar_out": lambda: with_scalar((I64, I32, U8), 6),
    A + "bitwise_or.Scalar_out": lambda: with_scalar((I64, I32), 6),
    A + "bitwise_xor.Scalar_out": lambda: with_scalar((I64, I32), 6),
    A + "bitwise_not.out": lambda: unary((I64, I32, U8, I8, BOOL)),
    **{
        f"{A}{name}.{overload}_out": make
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for overload, make in (
            ("Tensor", lambda: binary((*NUMBERS, F16, BOOL))),
            ("Scalar", lambda: with_scalar((F32, I64, I32, U8), 2, 0.5)),
        )
    },
    **{
        f"{A}logical_{name}.out": lambda: binary((BOOL, F32, I64, U8))
        for name in ("and", "or", "xor")
    },
    A + "logical_not.out": lambda: unary((BOOL, F32, I64, U8)),
    A + "isnan.out": lambda: unary((F32, F16, I64)),
    A + "isinf.out": lambda: unary((F32, I64)),
    **{f"{A}{name}.out": lambda: unary(NUMBERS) for name in ("abs", "neg")},
    # The sign of NaN is NaN in ExecuTorch's own.
    A + "sign.out": lambda: (
        Made(m.arguments, portable=is_integer(m.arguments[0].dtype)) for m in unary(NUMBERS)
    ),
    A + "relu.out": lambda: unary((F32, F64, I64, I8)),
    **{
        f"{A}{name}.out": lambda: unary((F32, F64, I64))
        for name in ("floor", "ceil", "trunc", "round")
    },
    **{
        f"{A}{name}.out": lambda: unary(FLOATS, relative=CLOSE)
        for name in (
            *("exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "rsqrt", "reciprocal"),
            *(
                "sin",
                "cos",
                "tan",
                "asin",
                "acos",
                "atan",
                "sinh",
                "cosh",
                "tanh",
                "sigmoid",
                "erf",
            ),
        )
    },
    A + "elu.out": lambda: (
        Made((some(s), a, k, i), relative=CLOSE)
        for s in SHAPES
        for a, k, i in ((1.0, 1, 1), (0.5, 2.0, 0.7))
    ),
    A + "gelu.out": lambda: (
        Made((some(s, plain=True), mode), relative=2e-5)
        for s in SHAPES
        for mode in ("none", "tanh")
    ),
    A + "leaky_relu.out": lambda: with_scalar((F32, F64), 0.1, 0.01),
    A + "hardtanh.out": lambda: (Made((some(s), -1.0, 2.5)) for s in SHAPES),
    A + "clamp.out": clamped,
    A + "clamp.Tensor_out": clamped_by_tensors,
    A + "where.self_out": chosen,
    A + "masked_fill.Scalar_out": filled_by_mask,
    A + "_to_copy.out": casts,
    A + "permute_copy.out": permuted,
    A + "transpose_copy.int_out": transposed,
    A + "t_copy.out": lambda: (Made((some(s, F32),)) for s in ((), (4,), (2, 3), (0, 3))),
    A + "slice_copy.Tensor_out": sliced,
    A + "slice_scatter.out": slice_written,
    A + "select_copy.int_out": selected,
    A + "select_scatter.out": select_written,
    A + "narrow_copy.out": lambda: (
        # ExecuTorch's own ends the process where a dimension is negative.
        Made((some((4, 5)), d, b, n), portable=d >= 0)
        for d, b, n in ((0, 1, 2), (-1, -3, 2), (1, 0, 0))
    ),
    A + "cat.out": joined,
    A + "stack.out": stacked,
    A + "split_with_sizes_copy.out": split,
    A + "split_copy.Tensor_out": split_evenly,
    A + "unbind_copy.int_out": unbound,
    A + "expand_copy.out": lambda: (
        Made((*m.arguments, False), m.expected, refusal=m.refusal) for m in expanded()
    ),
    A + "view_copy.out": viewed,
    A + "squeeze_copy.dim_out": lambda: squeezed(False),
    A + "squeeze_copy.dims_out": lambda: squeezed(True),
    A + "unsqueeze_copy.out": unsqueezed,
    A + "clone.out": lambda: (Made((*m.arguments, None), m.arguments) for m in copies()),
    A + "alias_copy.out": copies,
    A + "detach_copy.out": copies,
    A + "lift_fresh_copy.out": copies,
    "dim_order_ops::_to_dim_order_copy.out": lambda: (
        Made((x, False, None), (x.to(to),))
        for to, x in itertools.product(
            (F32, I64, BOOL), (some((2, 3), I32), some((), F32, plain=True))
        )
    ),
    "dim_order_ops::_clone_dim_order.out": lambda: (
        Made((*m.arguments, False, None), m.arguments) for m in copies()
    ),
    A + "copy.out": copied,
    A + "copy_": copied,
    A + "repeat.out": repeated,
    A + "flip.out": flipped,
    A + "constant_pad_nd.out": padded,
    A + "tril.out": triangles,
    A + "as_strided_copy.out": at_strides,
    A + "full.out": lambda: numbers_of((), (2, 3), (0,)),
    A + "full_like.out": alike,
    A + "fill.Scalar_out": same_filled,
    A + "scalar_tensor.out": single,
    A + "zeros.out": lambda: constant(torch.zeros),
    A + "ones.out": lambda: constant(torch.ones),
    A + "arange.out": ranges,
    A + "arange.start_out": begun_ranges,
    A + "any.out": truths_along,
    A + "any.dims_out": truths_of_dims,
    A + "any.all_out": lambda: unary((BOOL, F32, I64)),
    A + "sum.IntList_out": lambda: totals((F32, I64, I32, BOOL)),
    A + "mean.out": lambda: totals((F32, F64)),
    A + "amax.out": extremes,
    A + "amin.out": extremes,
    A + "max.unary_out": whole_extremes,
    A + "min.unary_out": whole_extremes,
    A + "argmax.out": placed,
    A + "argmin.out": placed,
    A + "max.dim_max": lambda: along((F32, I64), empty=False),
    A + "min.dim_min": lambda: along((F32, I64), empty=False),
    A + "cumsum.out": cumulated,
    A + "_softmax.out": lambda: along((F32,), False, plain=True, relative=2e-5),
    A + "_log_softmax.out": lambda: along((F32,), False, plain=True, relative=2e-5),
    A + "native_layer_norm.out": normed,
    A + "topk.values": largest,
    A + "mm.out": lambda: products(()),
    A + "bmm.out": lambda: products((3,)),
    A + "addmm.out": sums_of_products,
    A + "index.Tensor_out": indexed,
    A + "index_put.out": index_written,
    A + "index_put_": lambda: (
        Made(
            m.arguments,
            m.expected or eager(A + "index_put.out", m),
            refusal=m.refusal,
            # All that ExecuTorch's own does in place.
            portable=not m.arguments[3] and len(m.arguments[1]) == 1 and m.arguments[2].ndim == 3,
        )
        for m in index_written()
    ),
    P + "et_copy_index.tensor": items_written,
    A + "gather.out": gathered,
    A + "scatter.src_out": lambda: scattered(False),
    A + "scatter.value_out": lambda: scattered(True),
    A + "scatter_add.out": added_up,
    A + "index_select.out": index_selected,
    A + "embedding.out": embedded,
    **{
        f"{Q}embedding_{name}.{overload}": (
            lambda bits=bits, overload=overload: embedded_bytes(bits, overload == "dtype_out")
        )
        for name, bits in (("byte", 8), ("4bit", 4), ("2bit", 2))
        for overload in ("out", "dtype_out")
    },
    **{
        f"{Q}{verb}_{form}{'_out' if form.endswith('Tensor') else '.out'}": (
            lambda verb=verb, form=form: quantized(form, verb == "dequantize")
        )
        for verb in ("quantize", "dequantize")
        for form in ("per_tensor", "per_tensor.Tensor", "per_channel", "per_token")
    },
    A + "convolution.out": convolved,
    A + "avg_pool2d.out": averaged,
    A + "_adaptive_avg_pool2d.out": averaged_to_sizes,
    A + "max_pool2d_with_indices.out": largest_in_windows,
    A + "nonzero.out": places_of_what_is_there,
    "llama::custom_sdpa.out": lambda: attended(False),
    "llama::custom_quantized_sdpa.out": lambda: attended(True),
    P + "add.Scalar": lambda: numbers(lambda a, b: a + b),
    P + "sub.Scalar": lambda: numbers(lambda a, b: a - b),
    P + "mul.Scalar": lambda: numbers(lambda a, b: a * b),
    P + "floordiv.Scalar": lambda: numbers(lambda a, b: a // b, floats=False),
    P + "truediv.Scalar": lambda: numbers(lambda a, b: a / b),
    P + "mod.Scalar": lambda: (Made((a, b), (a % b,)) for a, b in ((7, 2), (9, 5))),
    P + "mod.int": lambda: (Made((a, b), (a % b,)) for a, b in ((7, 2), (9, 5))),
    P + "sym_max.Scalar": lambda: numbers(max, floats=False),
    P + "sym_min.Scalar": lambda: numbers(min, floats=False),
    P + "eq.Scalar": lambda: numbers(lambda a, b: a == b),
    P + "lt.Scalar": lambda: numbers(lambda a, b: a < b),
    P + "le.Scalar": lambda: numbers(lambda a, b: a <= b),
    P + "gt.Scalar": lambda: numbers(lambda a, b: a > b),
    P + "ge.Scalar": lambda: numbers(lambda a, b: a >= b),
    P + "ceil.Scalar": lambda: number(math.ceil, 1.2, -1.2, 3.0),
    P + "round.Scalar": lambda: number(round, 1.2, 2.5, 3.5, -0.5),
    P + "trunc.Scalar": lambda: number(math.trunc, 1.7, -1.7),
    P + "neg.Scalar": lambda: number(lambda a: -a, 3, -1.5),
    P + "sym_float.Scalar": lambda: number(float, 3, -5),
    P + "sym_not.Scalar": lambda: number(lambda a: not a, True, False),
    P + "et_view.default": lambda: (
        Made(
            m.arguments, m.expected or (m.arguments[0].reshape(m.arguments[1]),), refusal=m.refusal
        )
        for m in viewed()
    ),
    A + "sym_size.int": sizes_of,
    A + "sym_numel": lambda: (Made((some(s),), (some(s).numel(),)) for s in SHAPES),
    A + "_local_scalar_dense": first_elements,
}


def overload_of(name: str) -> Any:
    """Torch's operator of the same schema, if there is one."""
    namespace, _, rest = name.partition("::")
    base, _, overload = rest.partition(".")
    packet = getattr(getattr(torch.ops, namespace), base, None)
    return getattr(packet, overload or "default", None)


def eager(name: str, made: Made) -> tuple[Any, ...]:
    """What the operator gives that makes its outputs itself."""
    namespace, _, rest = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), rest.partition(".")[0])
    overload = overload_of(name)
    named = [a.name for a in overload._schema.arguments if a.kwarg_only and not a.is_out]
    count = len(made.arguments) - len(named)
    found = packet(*made.arguments[:count], **dict(zip(named, made.arguments[count:], strict=True)))
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def written(name: str, made: Made, expected: Sequence[Any]) -> bytes:
    overload = overload_of(name)
    base = name.partition("::")[2].partition(".")[0]
    return program(
        name,
        made.arguments,
        [Output(e, made.bound) for e in expected],
        kinds=[str(a.type) for a in overload._schema.arguments] if overload else (),
        listed=base.startswith(("split", "unbind")),
        returned=not name.startswith(P) and isinstance(expected[0], Tensor),
        in_place=base in ("copy_", "index_put_", "et_copy_index"),
    )


def tensors_of(arguments: Sequence[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from (item for item in argument if isinstance(item, Tensor))


def agrees(got: Any, expected: Any, relative: float) -> bool:
    if not isinstance(expected, Tensor):
        return bool(got == expected)
    return torch.allclose(got, expected, rtol=relative, atol=relative, equal_nan=True)


def as_array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().contiguous().numpy()
    return np.array([value], {bool: "bool", int: "int64", float: "float64"}[type(value)]).reshape(
        ()
    )


def portable_gives(
    file: bytes, inputs: Sequence[Tensor], expected: Sequence[Any], relative: float
) -> Sequence[Any]:
    """What ExecuTorch's own kernel gives, which has to be what eager does."""
    method = Runtime.get().load_program(file).load_method("forward")
    assert method is not None
    got = method.execute(inputs)
    for g, e in zip(got, expected, strict=True):
        assert agrees(g, e, relative), f"{g} != {e}"
    return got


@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name: str, record_case: Callable[[str, Case], None]) -> None:
    generator.manual_seed(0)
    number = -1
    for number, made in enumerate(KERNELS[name]()):
        inputs = [t.contiguous() for t in tensors_of(made.arguments)]
        expected = made.expected or (eager(name, made) if made.refusal is None else (some((2, 2)),))
        expected = [e.contiguous() if isinstance(e, Tensor) else e for e in expected]
        file = written(name, made, expected)
        call = Call([as_array(t) for t in inputs])
        if made.refusal is not None:
            call.error = f"method 'forward', step 0, {name}: {made.refusal}"
        else:
            found = [expected]
            if made.portable:
                found.append(portable_gives(file, inputs, expected, made.relative))
            tolerance = Tolerance(made.relative, made.relative)
            call.outputs = [
                Expected([as_array(one) for one in both], tolerance)
                for both in zip(*found, strict=True)
            ]
        record_case("kernels", Case(f"{name} #{number}", {}, False, file, {}, [], None, [call]))
    assert number >= 1


def test_each_is_one_of_executorchs() -> None:
    assert set(KERNELS) <= {*_get_operator_names()}
