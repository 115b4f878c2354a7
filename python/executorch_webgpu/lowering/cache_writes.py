"""Where a program writes a run of positions into a buffer that it keeps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .graph import inputs, operator_name, outputs, same_sizes, value_of

aten: Any = torch.ops.aten
_IN_PLACE = (aten.index_copy_.default, aten.index_put_.default)


def functionalized(program: ExportedProgram) -> ExportedProgram:
    """The program with such writes as values, not in place.

    A view there may be of what lies in memory as eager's attention gives it, and not as another
    operator in its place does: so views become reshapes, which may copy.
    """
    if not any(node.target in _IN_PLACE for node in program.graph.nodes):
        return program
    program = program.run_decompositions({})
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
    program.graph_module.recompile()
    return program


@dataclass(frozen=True)
class Write:
    """A write of `value` into `cache`, from a position in dimension `dim` on."""

    node: fx.Node
    cache: fx.Node
    value: fx.Node
    dim: int
    # A number of the graph's, or a tensor of one, or of the numbers from it on.
    position: fx.Node


def writes_of(program: ExportedProgram, consecutive: Collection[str]) -> dict[str, Write]:
    """The caches of a program by the names of their buffers.

    Args:
        consecutive: inputs whose numbers count up by one.
    """
    kept = {
        (value, spec.target)
        for value, spec in zip(outputs(program), program.graph_signature.output_specs, strict=True)
    }
    found = {}
    for buffer, spec in inputs(program):
        if spec.kind is not InputKind.BUFFER or spec.target is None or len(buffer.users) != 1:
            continue
        write = _write_of(next(iter(buffer.users)), buffer, consecutive)
        if write is not None and (write.node, spec.target) in kept:
            found[spec.target] = write
    return found


def _write_of(node: fx.Node, cache: fx.Node, consecutive: Collection[str]) -> Write | None:
    """What a node writes into a cache, from a position on."""
    sizes = value_of(cache).shape
    if len(sizes) != 4 or sizes[0] != 1 or not node.args or node.args[0] is not cache:
        return None
    run = _run_of(node, consecutive)
    if run is None:
        return None
    dim, rows, position, value = run
    wanted = [*sizes[:dim], rows, *sizes[dim + 1 :]]
    are_floats = value_of(cache).dtype == value_of(value).dtype == torch.float32
    if dim not in (1, 2) or not are_floats or not same_sizes(four_sizes(value), wanted):
        return None
    return Write(node, cache, value, dim, position)


def _run_of(
    node: fx.Node, consecutive: Collection[str]
) -> tuple[int, Any, fx.Node, fx.Node] | None:
    """The dimension, number of rows, first position and values of a write of a run."""
    args: Any = node.args
    if node.target is aten.index_copy.default:
        _, dim, index, value = args
        position = _first_of_run(index, consecutive)
        rows = value_of(index).shape[0] if value_of(index).dim() else 1
        return None if position is None else (dim % 4, rows, position, value)
    if node.target is aten.index_put.default and _overwrites(node):
        _, (*before, index), value = args[:3]
        if not any(before) and (is_one(index) or counts_up(index, consecutive)):
            rows = value_of(index).shape[0] if value_of(index).dim() else 1
            return len(before), rows, index, value
    return None


def _overwrites(node: fx.Node) -> bool:
    accumulates: Any = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate")
    return not accumulates


def four_sizes(value: fx.Node) -> list[Any]:
    """Its sizes, of which ones in front may have been left out."""
    sizes = list(value_of(value).shape)
    return [1] * (4 - len(sizes)) + sizes


def counts_up(index: Any, consecutive: Collection[str]) -> bool:
    """True for an input of one dimension that is said to count up."""
    is_input = isinstance(index, fx.Node) and index.op == "placeholder"
    return is_input and index.name in consecutive and value_of(index).dim() == 1


def _first_of_run(index: Any, consecutive: Collection[str]) -> fx.Node | None:
    """The number that an index [rows] counts up from."""
    if counts_up(index, consecutive):
        return index  # type: ignore[no-any-return]
    is_sum = operator_name(index) == "add" and not index.kwargs and value_of(index).dim() == 1
    for counted, first in (index.args, index.args[::-1]) if is_sum else ():
        whole = isinstance(first, fx.Node) and (
            isinstance(first.meta["val"], torch.SymInt) or is_one(first)
        )
        if whole and _counts_from_zero(counted):
            return first  # type: ignore[no-any-return]
    return index if is_one(index) else None


def is_one(index: Any) -> bool:
    """True for a tensor of one integer."""
    value = index.meta.get("val") if isinstance(index, fx.Node) else None
    if not isinstance(value, Tensor) or value.dtype not in (torch.int64, torch.int32):
        return False
    return value.dim() <= 1 and statically_known_true(value.numel() == 1)


def _counts_from_zero(node: Any) -> bool:
    """True for 0, 1, 2 and so on, of 64 bits."""
    if not isinstance(node, fx.Node) or node.meta["val"].dtype != torch.int64:
        return False
    if node.target is aten.arange.default:
        return True
    is_from = node.target in (aten.arange.start, aten.arange.start_step)
    return is_from and bool(node.args[0] == 0) and tuple(node.args[2:]) in ((), (1,))
