"""Numbers that the delegate's format cannot hold.

It has int64 constants as int32 and float64 ones as float32, and the exporter wraps and rounds
without a word. What uses such numbers stays with ExecuTorch's own kernels; int64 values that *come*
to a delegate are computed in 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from .graph import inputs, is_tensor, keep_out, operator_name, tensor_of

_LEAST, _MOST = -(2**31), 2**31 - 1
# Slices end at the largest int64, which means the end of the tensor.
_MEANS_THE_END = {"slice_copy", "slice_scatter"}


def keep_out_wide_numbers(program: ExportedProgram) -> None:
    """Keep nodes out of delegates whose constants or scalars would be cut to 32 bits."""
    wide = {node for node, spec in inputs(program) if _is_wide(tensor_of(program, spec))}
    for node in program.graph.nodes:
        if node.op == "call_function" and (
            not wide.isdisjoint(node.all_input_nodes) or _has_wide_scalar(node) or _is_double(node)
        ):
            keep_out(node)


def _is_wide(tensor: Tensor | None) -> bool:
    if tensor is None or not tensor.numel():
        return False
    if tensor.dtype == torch.int64:
        return bool(tensor.min() < _LEAST or tensor.max() > _MOST)
    if tensor.dtype == torch.float64:
        return bool((tensor.isfinite() & tensor.float().isinf()).any())
    return False


def _has_wide_scalar(node: fx.Node) -> bool:
    if operator_name(node) in _MEANS_THE_END:
        return False
    tensors = [n.meta["val"] for n in (node, *node.all_input_nodes) if is_tensor(n)]
    of_integers = any(t.dtype == torch.int64 for t in tensors)
    return any(
        not _LEAST <= number <= _MOST
        for number in _scalars(node)
        if isinstance(number, int) or (of_integers and math.isfinite(number))
    )


def _scalars(node: fx.Node) -> Iterator[int | float]:
    found: list[int | float] = []

    def note(value: Any) -> Any:
        if isinstance(value, int | float):
            found.append(value)
        return value

    fx.node.map_aggregate((node.args, node.kwargs), note)
    yield from found


def _is_double(node: fx.Node) -> bool:
    """True for what is computed in float64, which a delegate would do in float32."""
    if is_tensor(node) and node.meta["val"].dtype == torch.float64:
        return True
    rounds = operator_name(node) in ("_to_copy", "_to_dim_order_copy") and is_tensor(node)
    if rounds and node.meta["val"].dtype in (torch.float32, torch.float16):
        return False
    takes = [n.meta["val"] for n in node.all_input_nodes if is_tensor(n)]
    return any(t.dtype == torch.float64 and t.dim() > 0 for t in takes)
