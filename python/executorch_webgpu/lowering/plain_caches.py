"""Caches that a program writes with plain operators, and the attention over them.

So export_llm's without `use_sdpa_with_kv_cache`, and transformers' static ones: from a position on,
`index_copy` or `index_put` writes a buffer of [1, heads, positions, width], and attention goes over
all of it, with the rows of a mask from that position on, or with one of comparisons. The
partitioner takes neither write. Here they become `llama::update_cache` of [1, positions, heads,
width], and attention `llama::custom_sdpa` where that mask is the causal one. Where several methods
use a buffer it must be such a cache in each.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import (
    compute_unbacked_bindings,
    statically_known_true,
)

from .attention import ATTENTION, Arguments
from .cache_writes import Write, counts_up, four_sizes, is_one, writes_of
from .elements import element_of, is_read
from .folded import Folded
from .graph import (
    auto_functionalized_v2,
    call,
    inputs,
    operator_name,
    outputs,
    same_sizes,
    tensor_of,
    value_of,
)

aten: Any = torch.ops.aten
llama: Any = torch.ops.llama

Names = Mapping[str, Mapping[str, str]]
# Operators that compare a position with that which is written, and the order of the two.
_UP_TO = {"le": 1, "ge": -1}
# An element of a tensor, or another number by its node.
Number = tuple[object, ...]


def keep_caches(
    programs: Mapping[str, ExportedProgram],
    names: Names,
    folded: Mapping[str, Folded],
    consecutive: Collection[str],
) -> None:
    """Rewrite such caches, and causal attention over them.

    Args:
        consecutive: inputs whose numbers count up by one, as positions of new tokens do.
    """
    found = {method: writes_of(program, consecutive) for method, program in programs.items()}
    if not any(found.values()):
        return
    # It registers llama::*; what has no such caches needs none of them.
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401

    others = {
        new for method in programs for old, new in names[method].items() if old not in found[method]
    }
    # Methods that share a cache write one of its dimensions.
    dims: dict[str, set[int]] = {}
    for method, writes in found.items():
        for old, write in writes.items():
            dims.setdefault(names[method].get(old, old), set()).add(write.dim)
    for method, writes in found.items():
        rewriter = _Rewriter(programs[method], folded[method], consecutive)
        for old, write in writes.items():
            name = names[method].get(old, old)
            if name not in others and len(dims[name]) == 1:
                rewriter.write(old, write)
        rewriter.attend()


class _Rewriter:
    """Rewrites the caches of one program."""

    def __init__(
        self, program: ExportedProgram, folded: Folded, consecutive: Collection[str]
    ) -> None:
        self.program, self.graph, self.folded = program, program.graph, folded
        self.consecutive = consecutive
        self.numbers: dict[Number, fx.Node] = {}
        self.caches: dict[fx.Node, Write] = {}  # by their new contents

    def write(self, name: str, write: Write) -> None:
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
        for reader in list(seen.users):
            if seen is not new and _operand_of_swap(reader) is seen:
                reader.replace_all_uses_with(new)
        self._give_out(name, new)
        self.caches[new] = write

    def attend(self) -> None:
        """Make causal attention over the caches one operator."""
        for node in list(self.graph.nodes):
            if node.target is ATTENTION:
                self._attend(node)

    def _attend(self, node: fx.Node) -> None:
        a = Arguments(node)
        if not a.can_be_whole() or a.causal or a.mask is None or value_of(a.q).dim() != 4:
            return
        new: list[Any] = [_operand_of_swap(x) for x in (a.k, a.v)]
        key, value = (self.caches.get(x) for x in new)
        if key is None or value is None or key is value:
            return
        if not all(_is_all_that_reads(node, x) for x in new):
            return
        if not self._are_caches_of(a, key, value) or not self._is_causal(a, key):
            return
        scale = () if a.scale is None else (a.scale,)
        start = self._number(key.position)
        with self.graph.inserting_before(node):
            q = self._swapped(a.q)
            out = call(
                self.graph, llama.custom_sdpa.default,
                q, *new, start, None, 0.0, True, *scale,
            )  # fmt: skip
            seen = self._swapped(out)
        node.replace_all_uses_with(seen)
        self.graph.erase_node(node)

    def _are_caches_of(self, a: Arguments, key: Write, value: Write) -> bool:
        """Whether keys and values are caches alike, of an attention's heads, written at once."""
        q, k, v = (value_of(x) for x in (a.q, a.k, a.v))
        rows = [four_sizes(write.value)[write.dim] for write in (key, value)]
        return (
            k.shape == v.shape
            and q.dtype == torch.float32
            and q.shape[3] == k.shape[3]
            and statically_known_true(q.shape[0] == 1)
            and q.shape[1] == k.shape[1] * a.groups()
            and all(statically_known_true(count == q.shape[2]) for count in rows)
            and self._key(key.position) == self._key(value.position)
        )

    def _is_causal(self, a: Arguments, key: Write) -> bool:
        """Whether row i of the mask sees positions up to the first new one plus i."""
        rows, positions = value_of(a.q).shape[2], value_of(a.k).shape[2]
        mask = _without_ones(a.mask)
        for sizes in (value_of(a.mask).shape, value_of(mask).shape):
            ones = [1] * (len(sizes) - 2)
            if len(sizes) < 2 or not same_sizes(sizes, [*ones, rows, positions]):
                return False
        if operator_name(mask) in _UP_TO:
            return self._compares(mask, key)
        first = _first_row(mask)
        if first is None or self._key(first) != self._key(key.position):
            return False
        return _sees_what_was(self.folded.of(mask.args[0]), positions)

    def _compares(self, mask: fx.Node, key: Write) -> bool:
        """Whether a mask shows in each row the positions up to the one that is written there."""
        positions, written = mask.args[:: _UP_TO[operator_name(mask)]]
        known = self.folded.of(positions)
        row = _without_ones(written)
        counts = counts_up(row, self.consecutive) or is_one(row)
        if known is None or not counts or self._key(row) != self._key(key.position):
            return False
        count = value_of(row).shape[0] if value_of(row).dim() else 1
        is_column = value_of(written).dim() >= 2 and same_sizes(
            value_of(written).shape[-2:], [count, 1]
        )
        along = torch.arange(known.numel())
        return is_column and known.shape[-1:] == along.shape and torch.equal(known.flatten(), along)

    # --- Nodes ---

    def _key(self, number: fx.Node) -> Number:
        """Equal for equal numbers; of several that count up, for the first."""
        if isinstance(value_of(number), torch.SymInt) and not is_read(number):
            return (number,)
        tensor, index = element_of(number)
        return tensor, *index

    def _number(self, position: fx.Node) -> fx.Node:
        """The position as a number of the graph's."""
        if isinstance(position.meta["val"], torch.SymInt):
            return position
        key = self._key(position)
        if key not in self.numbers:
            self.numbers[key] = self._read(*key)
        return self.numbers[key]

    def _read(self, tensor: Any, *index: Any) -> fx.Node:
        """An element of a tensor as a number, as a delegate reads it: selected from a dimension.

        In front of all that uses the tensor, so of all that is written from there on; and behind
        what uses other inputs before, for a delegate has its inputs in the order of their uses.
        """
        first = next(node for node in self.graph.nodes if node in tensor.users)
        with self.graph.inserting_before(first):
            if not index:
                tensor, index = call(self.graph, aten.view.default, tensor, [1]), (0,)
            position = tensor
            for at in index:
                position = call(self.graph, aten.select.int, position, 0, at)
            number = self.graph.call_function(aten.item.default, (position,))
        env = value_of(position).fake_mode.shape_env
        number.meta["val"] = env.create_unbacked_symint()
        number.meta["unbacked_bindings"] = compute_unbacked_bindings(env, number.meta["val"])
        return number  # type: ignore[no-any-return]

    def _swapped(self, node: fx.Node) -> fx.Node:
        """Dimensions 1 and 2 in each other's place."""
        operand = _operand_of_swap(node)
        if operand is not None:
            return operand
        return call(self.graph, aten.transpose.int, node, 1, 2)

    def _with_four_dimensions(self, write: Write) -> fx.Node:
        value = write.value
        while value_of(value).dim() < 4:
            value = call(self.graph, aten.unsqueeze.default, value, 0)
        return value

    def _updated(self, cache: fx.Node, value: fx.Node, start: fx.Node) -> fx.Node:
        """The new contents of a cache."""
        write = self.graph.call_function(
            auto_functionalized_v2,
            (llama.update_cache.default,),
            {"value": value, "start_pos": start, "_cache_base_index": 0, "_all_bases": [cache]},
        )
        old = value_of(cache)
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
        cache.meta["val"] = value_of(cache).new_empty(swapped.shape)

    def _give_out(self, name: str, new: fx.Node) -> None:
        """What a buffer is after a call."""
        values = outputs(self.program)
        for index, spec in enumerate(self.program.graph_signature.output_specs):
            if spec.target == name:
                values[index] = new
                spec.arg.name = new.name
        self.graph.output_node().args = (tuple(values),)


def _operand_of_swap(node: fx.Node) -> fx.Node | None:
    """What stands in a node with dimensions 1 and 2 in each other's place."""
    if node.target is not aten.transpose.int or value_of(node).dim() != 4:
        return None
    operand, *dims = node.args
    return operand if {d % 4 for d in dims} == {1, 2} else None  # type: ignore[return-value, operator]


def _is_all_that_reads(attention: fx.Node, contents: fx.Node) -> bool:
    """True where contents, repeated for its heads or not, go to one attention and are kept."""
    return all(user.op == "output" or _leads_only_to(user, attention) for user in contents.users)


def _leads_only_to(node: fx.Node, attention: fx.Node) -> bool:
    if node is attention:
        return True
    return bool(node.users) and all(_leads_only_to(user, attention) for user in node.users)


def _without_ones(node: Any) -> Any:
    """What a tensor is but for dimensions of one in front of others, or behind."""
    while operator_name(node) in ("unsqueeze", "view", "reshape", "expand") and _adds_ones(node):
        node = node.args[0]
    return node


def _adds_ones(node: fx.Node) -> bool:
    """True for a view that only has more dimensions of one."""
    before, after = (
        [size for size in value_of(x).shape if not statically_known_true(size == 1)]
        for x in (node.args[0], node)
    )
    return same_sizes(before, after)


def _first_row(mask: fx.Node) -> fx.Node | None:
    """The number of the first row of a table's that a mask is."""
    rows = value_of(mask).dim() - 2
    first: Any = None
    if mask.target is aten.slice.Tensor and len(mask.args) in (4, 5):
        _, dim, first, _, *step = mask.args
        if dim not in (rows, -2) or step not in ([], [1]):
            return None
    elif mask.target is aten.index.Tensor:
        indices: Any = mask.args[1]
        first = indices[-1] if indices == [None] * rows + indices[-1:] else None
        if not is_one(first):
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
