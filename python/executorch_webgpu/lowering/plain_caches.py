"""Caches that a program writes with plain operators, and the attention over them.

So export_llm's without `use_sdpa_with_kv_cache`: from a position on, `index_copy` or `index_put`
writes a buffer of [1, heads, positions, width], and attention goes over all of it with the rows of a
mask from that position on. The partitioner takes neither write. Here they become
`llama::update_cache` of [1, positions, heads, width], and `llama::custom_sdpa` where the mask is the
causal one. Where several methods use a buffer it must be such a cache in each.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import (
    compute_unbacked_bindings,
    statically_known_true,
)

from .attention import ATTENTION, Arguments
from .folded import Folded
from .graph import auto_functionalized_v2, call, inputs, operator_name, outputs, tensor_of

aten: Any = torch.ops.aten
llama: Any = torch.ops.llama
_IN_PLACE = (aten.index_copy_.default, aten.index_put_.default)

Names = Mapping[str, Mapping[str, str]]
# An element of a tensor, or another number by its node.
Number = tuple[object, ...]


def functionalized(program: ExportedProgram) -> ExportedProgram:
    """The program with such writes as values, not in place."""
    if any(node.target in _IN_PLACE for node in program.graph.nodes):
        return program.run_decompositions({})
    return program


def keep_caches(
    programs: Mapping[str, ExportedProgram], names: Names, folded: Mapping[str, Folded]
) -> None:
    """Rewrite such caches, and causal attention over them."""
    found = {method: _writes_of(program) for method, program in programs.items()}
    if not any(found.values()):
        return
    # It registers llama::*; what has no such caches needs none of them.
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401
    others = {
        new
        for method in programs
        for old, new in names[method].items()
        if old not in found[method]
    }
    # Methods that share a cache write one of its dimensions.
    dims: dict[str, set[int]] = {}
    for method, writes in found.items():
        for old, write in writes.items():
            dims.setdefault(names[method].get(old, old), set()).add(write.dim)
    for method, writes in found.items():
        rewriter = _Rewriter(programs[method], folded[method])
        for old, write in writes.items():
            name = names[method].get(old, old)
            if name not in others and len(dims[name]) == 1:
                rewriter.write(old, write)
        rewriter.attend()


@dataclass(frozen=True)
class _Write:
    """A write of `value` into `cache`, from a position in dimension `dim` on."""

    node: fx.Node
    cache: fx.Node
    value: fx.Node
    dim: int
    position: fx.Node  # a number of the graph's, or a tensor of one


def _writes_of(program: ExportedProgram) -> dict[str, _Write]:
    """The caches of a program by the names of their buffers."""
    kept = {
        (value, spec.target)
        for value, spec in zip(outputs(program), program.graph_signature.output_specs, strict=True)
    }
    found = {}
    for buffer, spec in inputs(program):
        if spec.kind is not InputKind.BUFFER or spec.target is None or len(buffer.users) != 1:
            continue
        write = _write_of(next(iter(buffer.users)), buffer)
        if write is not None and (write.node, spec.target) in kept:
            found[spec.target] = write
    return found


def _write_of(node: fx.Node, cache: fx.Node) -> _Write | None:
    """What a node writes into a cache, from a position on."""
    sizes = _value(cache).shape
    if len(sizes) != 4 or sizes[0] != 1 or _value(cache).dtype != torch.float32:
        return None
    if node.target is aten.index_copy.default and node.args[0] is cache:
        dim, index, value = node.args[1:]
        dim %= 4
        position = _first_of_run(index)
    elif node.target is aten.index_put.default and node.args[0] is cache and _overwrites(node):
        indices: Any = node.args[1]
        value, dim = node.args[2], len(indices) - 1
        position = index = indices[-1] if indices[:-1] == [None] * dim else None
        if position is None or not _is_one(position):
            return None
    else:
        return None
    rows = _value(index).shape[0] if _value(index).dim() else 1
    wanted = [*sizes[:dim], rows, *sizes[dim + 1 :]]
    fits = dim in (1, 2) and position is not None and _value(value).dtype == torch.float32
    if not fits or not _same_sizes(_without_ones_before(_value(value)), wanted):
        return None
    return _Write(node, cache, value, dim, position)


def _overwrites(node: fx.Node) -> bool:
    accumulates: Any = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate")
    return not accumulates


def _without_ones_before(value: Tensor) -> list[Any]:
    """Its sizes as four, of which those in front may have been left out."""
    sizes = list(value.shape)
    return [1] * (4 - len(sizes)) + sizes


def _first_of_run(index: Any) -> fx.Node | None:
    """The number that an index [rows] counts up from."""
    if _is_one(index):
        found: fx.Node = index
        return found
    if operator_name(index) != "add" or index.kwargs or _value(index).dim() != 1:
        return None
    for counted, first in (index.args, index.args[::-1]):
        whole = isinstance(first, fx.Node) and (
            isinstance(first.meta["val"], torch.SymInt) or _is_one(first)
        )
        if whole and _counts_from_zero(counted):
            return first
    return None


def _is_one(index: Any) -> bool:
    """True for a tensor of one integer."""
    value = index.meta.get("val") if isinstance(index, fx.Node) else None
    whole = isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)
    return whole and value.dim() <= 1 and statically_known_true(value.numel() == 1)


def _counts_from_zero(node: Any) -> bool:
    """True for 0, 1, 2 and so on, of 64 bits."""
    if not isinstance(node, fx.Node) or node.meta["val"].dtype != torch.int64:
        return False
    if node.target is aten.arange.default:
        return True
    starts = {aten.arange.start: (0,), aten.arange.start_step: (0, 1)}.get(node.target)
    given = (node.args[0], *node.args[2:]) if len(node.args) > 1 else ()
    return starts is not None and given == starts[: len(given)] and len(given) > 0


class _Rewriter:
    """Rewrites the caches of one program."""

    def __init__(self, program: ExportedProgram, folded: Folded) -> None:
        self.program, self.graph, self.folded = program, program.graph, folded
        self.numbers: dict[Number, fx.Node] = {}
        # By the new contents, as the rest of the program sees them.
        self.caches: dict[fx.Node, tuple[_Write, fx.Node]] = {}

    def write(self, name: str, write: _Write) -> None:
        swapped = write.dim == 2
        if swapped:
            self._swap_buffer(name, write.cache)
        start = self._number(write.position)
        with self.graph.inserting_before(write.node):
            value = self._with_four_dimensions(write)
            value = self._swapped(value) if swapped else value
            new = self._updated(write.cache, value, start)
            seen = self._swapped(new) if swapped else new
        write.node.replace_all_uses_with(seen)
        self.graph.erase_node(write.node)
        self._give_out(name, new)
        self.caches[seen] = write, new

    def attend(self) -> None:
        """Make causal attention over the caches one operator."""
        for node in list(self.graph.nodes):
            if node.target is ATTENTION:
                self._attend(node)

    def _attend(self, node: fx.Node) -> None:
        a = Arguments(node)
        if not a.can_be_whole() or a.causal or a.mask is None or _value(a.q).dim() != 4:
            return
        caches = [self.caches.get(x) for x in (a.k, a.v)]
        if None in caches or a.k is a.v or not all(_is_alone(x, node) for x in (a.k, a.v)):
            return
        (key, new_key), (value, new_value) = caches  # type: ignore[misc]
        if not self._are_caches_of(a, key, value) or not self._is_causal(a, key):
            return
        scale = () if a.scale is None else (a.scale,)
        start = self._number(key.position)
        with self.graph.inserting_before(node):
            q = self._swapped(a.q)
            out = call(
                self.graph, llama.custom_sdpa.default,
                q, new_key, new_value, start, None, 0.0, True, *scale,
            )  # fmt: skip
            seen = self._swapped(out)
        node.replace_all_uses_with(seen)
        self.graph.erase_node(node)

    def _are_caches_of(self, a: Arguments, key: _Write, value: _Write) -> bool:
        """Whether an attention's keys and values are caches alike, of its heads, written at once."""
        q, k, v = (_value(x) for x in (a.q, a.k, a.v))
        rows = [_value(write.value).shape[-2 if write.dim == 2 else -3] for write in (key, value)]
        return (
            key.dim == value.dim == 2
            and k.shape == v.shape
            and q.dtype == torch.float32
            and q.shape[3] == k.shape[3]
            and statically_known_true(q.shape[0] == 1)
            and q.shape[1] == k.shape[1] * a.groups()
            and all(statically_known_true(count == q.shape[2]) for count in rows)
            and self._key(key.position) == self._key(value.position)
        )

    def _is_causal(self, a: Arguments, key: _Write) -> bool:
        """Whether row i of an attention's mask sees the positions up to the first new one plus i."""
        mask = a.mask
        while operator_name(mask) in ("unsqueeze", "view", "reshape") and _adds_ones(mask):
            mask = mask.args[0]
        rows, positions = _value(a.q).shape[2], _value(a.k).shape[2]
        sizes = _value(mask).shape
        if len(sizes) < 2 or not _same_sizes(sizes, [*[1] * (len(sizes) - 2), rows, positions]):
            return False
        first = _first_row(mask)
        if first is None or self._key(first) != self._key(key.position):
            return False
        return _sees_what_was(self.folded.of(mask.args[0]), positions)

    # --- Nodes ---

    def _key(self, number: fx.Node) -> Number:
        """Equal for equal numbers."""
        node: Any = number
        if node.target in (aten.item.default, aten._local_scalar_dense.default):
            node = node.args[0]
        if node.target is aten.select.int and _value(node.args[0]).dim() == 1:
            tensor, _, index = node.args
            count = _value(tensor).shape[0]
            return tensor, index % count if isinstance(count, int) else index
        return (node, 0) if _value_of_one(node) else (node,)

    def _number(self, position: fx.Node) -> fx.Node:
        """The position as a number of the graph's."""
        if isinstance(position.meta["val"], torch.SymInt):
            return position
        key = self._key(position)
        if key not in self.numbers:
            self.numbers[key] = self._read(position)
        return self.numbers[key]

    def _read(self, position: fx.Node) -> fx.Node:
        """The number in a tensor, as a delegate reads it: selected from a dimension."""
        after = position
        if position.op == "placeholder":
            after = [node for node in self.graph.nodes if node.op == "placeholder"][-1]
        with self.graph.inserting_before(after.next):
            if operator_name(position) != "select":
                row = call(self.graph, aten.view.default, position, [1])
                position = call(self.graph, aten.select.int, row, 0, 0)
            number = self.graph.call_function(aten.item.default, (position,))
        env = _value(position).fake_mode.shape_env
        number.meta["val"] = env.create_unbacked_symint()
        number.meta["unbacked_bindings"] = compute_unbacked_bindings(env, number.meta["val"])
        return number

    def _swapped(self, node: fx.Node) -> fx.Node:
        """Dimensions 1 and 2 in each other's place."""
        if node.target is aten.transpose.int and {d % 4 for d in node.args[1:]} == {1, 2}:  # type: ignore[operator]
            operand: Any = node.args[0]
            return operand  # type: ignore[no-any-return]
        return call(self.graph, aten.transpose.int, node, 1, 2)

    def _with_four_dimensions(self, write: _Write) -> fx.Node:
        if _value(write.value).dim() == 4:
            return write.value
        sizes = _without_ones_before(_value(write.value))
        # Of one row, so that sizes are numbers.
        return call(self.graph, aten.view.default, write.value, sizes)

    def _updated(self, cache: fx.Node, value: fx.Node, start: fx.Node) -> fx.Node:
        """The new contents of a cache."""
        write = self.graph.call_function(
            auto_functionalized_v2,
            (llama.update_cache.default,),
            {"value": value, "start_pos": start, "_cache_base_index": 0, "_all_bases": [cache]},
        )
        old = _value(cache)
        write.meta["val"] = (old.new_empty(1), old.new_empty(old.shape))
        new: fx.Node = self.graph.call_function(operator.getitem, (write, 1))
        new.meta["val"] = write.meta["val"][1]
        return new

    def _swap_buffer(self, name: str, cache: fx.Node) -> None:
        spec = next(spec for node, spec in inputs(self.program) if node is cache)
        tensor = tensor_of(self.program, spec)
        assert tensor is not None
        swapped = tensor.detach().transpose(1, 2).contiguous()
        program = self.program
        table = program._state_dict if name in program.state_dict else program._constants
        table[name] = swapped
        cache.meta["val"] = _value(cache).new_empty(swapped.shape)

    def _give_out(self, name: str, new: fx.Node) -> None:
        """What a buffer is after a call."""
        values = outputs(self.program)
        for index, spec in enumerate(self.program.graph_signature.output_specs):
            if spec.target == name:
                values[index] = new
                spec.arg.name = new.name
        self.graph.output_node().args = (tuple(values),)


def _value(node: fx.Node) -> Any:
    return node.meta["val"]


def _value_of_one(node: fx.Node) -> bool:
    return isinstance(node.meta["val"], Tensor) and _value(node).dim() == 1


def _same_sizes(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(
        statically_known_true(m == n) for m, n in zip(a, b, strict=True)
    )


def _is_alone(seen: fx.Node, attention: fx.Node) -> bool:
    """True for contents that nothing but one attention reads, repeated for its heads or not."""
    nodes = list(seen.users)
    for node in nodes:
        if node is attention or node.op == "output":
            continue
        nodes += node.users
        if attention not in node.users and not node.users:
            continue
    return all(_leads_only_to(node, attention) for node in seen.users)


def _leads_only_to(node: fx.Node, attention: fx.Node) -> bool:
    if node is attention:
        return True
    return bool(node.users) and all(_leads_only_to(user, attention) for user in node.users)


def _adds_ones(node: fx.Node) -> bool:
    """True for a view that only has more dimensions of one in front."""
    before, after = _value(node.args[0]).shape, _value(node).shape  # type: ignore[arg-type]
    more = len(after) - len(before)
    return more >= 0 and _same_sizes(after, [1] * more + list(before))


def _first_row(mask: fx.Node) -> fx.Node | None:
    """The number of the first row of a table's that a mask is."""
    rows = _value(mask).dim() - 2
    first: Any = None
    if mask.target is aten.slice.Tensor and len(mask.args) in (4, 5):
        _, dim, first, _, *step = mask.args
        if dim not in (rows, -2) or step not in ([], [1]):
            return None
    elif mask.target is aten.index.Tensor:
        indices: Any = mask.args[1]
        first = indices[-1] if indices == [None] * rows + indices[-1:] else None
        if not _is_one(first):
            return None
    return first if isinstance(first, fx.Node) else None


def _sees_what_was(table: Tensor | None, positions: int) -> bool:
    """Whether row i of a mask shows the positions up to i, and hides all others."""
    if table is None or table.numel() % positions or table.shape[-1] != positions:
        return False
    table = table.reshape(-1, positions)
    visible = torch.ones(table.shape, dtype=torch.bool).tril()
    if table.dtype != torch.bool:
        visible = torch.zeros(table.shape, dtype=table.dtype).masked_fill(~visible, -math.inf)
    return torch.equal(table, visible)
