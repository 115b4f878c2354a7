"""What a method takes, by its program's outline, against what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import le
from typing import Any

# ExecuTorch ends the process when a tensor has more dimensions.
MOST_DIMENSIONS = 16

# An input as `inspect` gives it: {"type", "sizes", "dynamic"} of a tensor, with "contiguous": False
# if it is not, else {"type", "value"}.
Input = Mapping[str, Any]

# What ExecuTorch takes only as it was when the program was exported.
_RECORDED = frozenset({"int", "double", "bool", "string", "none"})
_Plain = int | float | str | None


def describe(wanted: Input) -> str:
    """An input in words: "float32 [1, 4]", or "int 3" of a number."""
    content = wanted.get("sizes", wanted.get("value"))
    return str(wanted["type"]) if content is None else f"{wanted['type']} {content}"


def are_passable(wanted: Sequence[Input], given: Sequence[Any]) -> bool:
    """Whether ExecuTorch can be asked at all: see `MOST_DIMENSIONS`. If not, it is a `mismatch`."""
    fits = (getattr(value, "ndim", 0) <= MOST_DIMENSIONS for value in given)
    return len(given) == len(wanted) and all(fits)


def laid_out(wanted: Sequence[Input], given: Sequence[Any]) -> list[Any]:
    """The inputs as the program takes them: tensors contiguous unless it says otherwise, and where
    it has a number, that of a tensor of one element.

    ExecuTorch's Python interface refuses strided tensors, takes those in channels-last order for
    contiguous ones, whatever the program says, and ends the process at the strides of an empty
    tensor that are not its sizes', which torch calls contiguous, too.
    """
    import torch

    def arranged(one: Input, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            return value
        if "value" in one and value.numel() == 1:
            return value.item()
        if value.numel() == 0:
            return value.new_empty(value.shape)
        return value.contiguous() if one.get("contiguous", True) else value

    return [arranged(one, value) for one, value in zip(wanted, given, strict=True)]


def mismatch(name: str, wanted: Sequence[Input], given: Sequence[Any]) -> str | None:
    """What is wrong with the inputs of the method `name`, or None if they fit."""
    if len(given) != len(wanted):
        takes = ", ".join(map(describe, wanted)) or "none"
        return f"{name!r} takes {len(wanted)} inputs ({takes}) but got {len(given)}"
    for i, (one, value) in enumerate(zip(wanted, given, strict=True)):
        if problem := _misfit(one, value):
            return f"input {i} of {name!r} is {problem}"
    return None


def _misfit(wanted: Input, value: Any) -> str | None:
    if wanted["type"] in _RECORDED:
        same = isinstance(value, _Plain) and value == wanted.get("value")
        return None if same else f"{_name(value)}, not the {describe(wanted)} of its export"
    if "sizes" not in wanted:
        return None if getattr(value, "ndim", 0) <= MOST_DIMENSIONS else "of too many dimensions"
    import torch

    limit = f"{wanted['type']} of at most {wanted['sizes']}"
    expected = limit if wanted["dynamic"] else describe(wanted)
    if not isinstance(value, torch.Tensor):
        return f"no tensor but {_name(value)}: it takes {expected}"
    kind, sizes = str(value.dtype).removeprefix("torch."), list(value.shape)
    within = len(sizes) == len(wanted["sizes"]) and all(map(le, sizes, wanted["sizes"]))
    fits = within if wanted["dynamic"] else sizes == wanted["sizes"]
    return None if fits and kind == wanted["type"] else f"{kind} {sizes}, not {expected}"


def _name(value: Any) -> str:
    return repr(value) if isinstance(value, _Plain) else f"of type {type(value).__name__}"
