"""The harness itself: which differences count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.expected import SMALLEST, Expected, Tolerance

NAN, INF = np.nan, np.inf
LOOSE = Tolerance(0.1, 0.5)


def array(values: Any, dtype: str = "float32") -> np.ndarray[Any, np.dtype[Any]]:
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("expected", "got", "wrong"),
    [
        (10.0, 11.5, False),
        (10.0, 11.6, True),
        (-10.0, -8.5, False),
        (-10.0, -8.4, True),
        (NAN, NAN, False),
        (NAN, 1.0, True),
        (1.0, NAN, True),
        (INF, INF, False),
        (INF, -INF, True),
        (INF, 3e38, True),
        (3e38, INF, True),
    ],
)
def test_tolerance(expected: float, got: float, wrong: bool) -> None:
    assert Expected([array([expected])], LOOSE).wrong(array([got])) == [wrong]


def test_integers_are_equal_and_of_either_width() -> None:
    large = 2**62
    for dtype in ("int32", "int64"):
        expected = Expected([array([1, 2], "int64")], LOOSE)
        assert expected.difference(array([1, 2], dtype)) is None
        assert expected.difference(array([1, 3], dtype)) is not None
    assert Expected([array([large], "int64")], LOOSE).wrong(array([large + 1], "int64")) == [True]
    difference = Expected([array([1], "int8")], LOOSE).difference(array([1], "int32"))
    assert difference == "int32 != int8"


def test_each_element_has_its_alternatives() -> None:
    expected = Expected([array([1.0, NAN, 5.0]), array([2.0, 9.0, 5.0])], Tolerance(0, 0))
    assert expected.wrong(array([2.0, NAN, 5.0])).tolist() == [False] * 3
    assert expected.wrong(array([1.5, 8.0, NAN])).tolist() == [True] * 3


def test_subnormal_numbers_may_be_zeros() -> None:
    values = array([1e-40, SMALLEST, 0.0, 0.0])
    given = array([0.0, 0.0, -1e-40, 2 * SMALLEST])
    strict = Expected([values], Tolerance(0, 0))
    assert strict.wrong(given).tolist() == [True] * 4
    lenient = Expected([values], Tolerance(0, 0), subnormal_zeros=True)
    assert lenient.wrong(given).tolist() == [False, False, False, True]


def test_zeros_may_have_to_have_a_sign() -> None:
    signed = array([True, True, False], "bool")
    expected = Expected([array([-0.0, 0.0, -0.0])], Tolerance(0, 0), signed=signed)
    assert expected.wrong(array([-0.0, 0.0, 0.0])).tolist() == [False] * 3
    assert expected.wrong(array([0.0, -0.0, 0.0])).tolist() == [True, True, False]


def test_sizes_and_scalars() -> None:
    expected = Expected([array(1.0)], Tolerance(0, 0))
    assert expected.difference(array(1.0)) is None
    assert expected.difference(array([1.0])) == "(1,) != ()"
    difference = expected.difference(array(3.0))
    assert difference is not None and difference.startswith("(): 1 of 1 elements differ")
