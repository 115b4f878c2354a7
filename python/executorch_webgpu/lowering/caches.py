"""Caches of ``llama::update_cache`` and ``llama::custom_sdpa``.

The exporter makes one operator of an attention and of the first write of each of its caches,
wherever in the graph those are and at the position of the graph's first. That is right where each
cache is written once and then read by that attention alone. Elsewhere the writes become plain
operators here, and the attention stays with ExecuTorch's own kernels.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .elements import element_of, is_read
from .graph import aten, auto_functionalized_v2, in_place_call, is_tensor, keep_out


def settle_caches(program: ExportedProgram, outside: Collection[str]) -> None:
    """Leave to the exporter only those caches that it writes in the right order and place.

    Args:
        outside: buffers that no delegate may keep.
    """
    buffers = program.graph_signature.inputs_to_buffers
    writes = [node for node in program.graph.nodes if _is_write(node)]
    alone = {w for w in writes if _is_alone(w) and buffers.get(_written(w).name) not in outside}
    first: Any = None
    for attention in [n for n in program.graph.nodes if _is(n.target, "custom_sdpa")]:
        key, value, position = attention.args[1:4]
        first = position if first is None else first
        caches = [in_place_call(key), in_place_call(value)]
        places = [c.kwargs["start_pos"] for c in caches if c is not None and c in alone]
        if (
            len(places) == 2
            and key is not value
            and all(_same(place, first) for place in (position, *places))
            and not _readers(key, attention) | _readers(value, attention)
        ):
            continue
        keep_out(attention)
        alone.difference_update(caches)
    for write in writes:
        if write not in alone:
            _write_plainly(program, write)


def _is(target: object, name: str) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and schema.name == f"llama::{name}"


def _is_write(node: fx.Node) -> bool:
    return node.target is auto_functionalized_v2 and _is(node.args[0], "update_cache")


def _written(write: fx.Node) -> fx.Node:
    """What the cache was before."""
    bases: Any = write.kwargs["_all_bases"]
    cache: fx.Node = bases[0]
    return cache


def _readers(cache: fx.Node, attention: fx.Node) -> set[fx.Node]:
    """What reads a written cache beside its attention."""
    return set(cache.users) - {attention, cache.graph.output_node()}


def _is_alone(write: fx.Node) -> bool:
    """True where the write is all that happens to a buffer's old contents."""
    buffer = _written(write)
    return buffer.op == "placeholder" and len(buffer.users) == 1


def _same(a: Any, b: Any) -> bool:
    """True for one number, or for two computed alike: each layer may read the position anew."""
    if isinstance(a, fx.Node) and isinstance(b, fx.Node):
        calls = a.op == b.op == "call_function" and a.target == b.target
        if a is b or (calls and _same((a.args, a.kwargs), (b.args, b.kwargs))):
            return True
        if is_read(a) and is_read(b):
            return _same(element_of(a), element_of(b))
        if is_tensor(a) or is_tensor(b):
            return False
        return statically_known_true(a.meta["val"] == b.meta["val"])
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _write_plainly(program: ExportedProgram, write: fx.Node) -> None:
    value, cache, start = write.kwargs["value"], _written(write), write.kwargs["start_pos"]
    with program.graph.inserting_before(write):
        end = _sum(program, start, _length(program, value))
        new = program.graph.call_function(aten.slice_scatter.default, (cache, value, 1, start, end))
        new.meta["val"] = cache.meta["val"].clone()
    for user in list(write.users):
        user.replace_all_uses_with(new)
        program.graph.erase_node(user)
    program.graph.erase_node(write)


def _length(program: ExportedProgram, value: Any) -> Any:
    length = value.meta["val"].shape[1]
    if isinstance(length, int):
        return length
    node = program.graph.call_function(torch.ops.aten.sym_size.int, (value, 1))
    node.meta["val"] = length
    return node


def _sum(program: ExportedProgram, a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    node = program.graph.call_function(operator.add, (a, b))
    a, b = (x.meta["val"] if isinstance(x, fx.Node) else x for x in (a, b))
    node.meta["val"] = a + b
    return node
