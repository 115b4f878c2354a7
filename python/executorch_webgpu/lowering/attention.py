"""Attention without a cache, kept whole.

The exporter takes `scaled_dot_product_attention` apart into pieces of which the partitioner leaves
some outside, so that one attention becomes three delegates with ExecuTorch's kernels in between.
It becomes `et_vk.sdpa` before that instead, which the partitioner takes.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._sympy.value_ranges import bound_sympy

from .folded import Folded, writes
from .graph import append_constant, call, operator_name, same_sizes, value_of

aten: Any = torch.ops.aten
ATTENTION = aten.scaled_dot_product_attention.default
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_MOST_POSITIONS = 4096  # of a causal mask, which is stored


@torch.library.register_fake("et_vk::sdpa")  # type: ignore[untyped-decorator]
def _sizes(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: Any = None
) -> Tensor:
    """What upstream's own gives, for sizes that are not known yet, too."""
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        q.shape[:-2], k.shape[:-2], v.shape[:-2]
    )
    return q.new_empty((*lead, q.shape[-2], v.shape[-1]))


def keep_attention_whole(program: ExportedProgram, folded: Folded) -> None:
    """Put `et_vk.sdpa` in the place of each attention that it can say."""
    rewriter = _Rewriter(program, folded)
    for node in list(program.graph.nodes):
        if node.target is ATTENTION:
            rewriter.rewrite(node)


class _Rewriter:
    def __init__(self, program: ExportedProgram, folded: Folded) -> None:
        self.program, self.graph, self.folded = program, program.graph, folded
        self.masks: dict[fx.Node, tuple[fx.Node, fx.Node | None]] = {}
        self.causal: dict[tuple[object, ...], fx.Node] = {}

    def rewrite(self, node: fx.Node) -> None:
        a = Arguments(node)
        if not a.can_be_whole():
            return
        with self.graph.inserting_before(node):
            mask, hidden = a.mask, None
            if a.causal:
                mask = self._causal_mask(a.q, a.k)
            elif mask is not None:
                mask, hidden = self._added_mask(mask, value_of(a.q).dtype)
            out = self._attend(a, mask)
            if hidden is not None:
                # Softmax gives NaN where a query sees no key; eager's attention gives 0.
                zero = self._constant("attention_zero", torch.zeros((), dtype=value_of(out).dtype))
                out = self._call(aten.where.self, hidden, zero, out)
        node.replace_all_uses_with(out)
        self.graph.erase_node(node)
        _let_views_copy(out)

    def _attend(self, a: Arguments, mask: fx.Node | None) -> fx.Node:
        sdpa = torch.ops.et_vk.sdpa.default
        groups = a.groups()
        if groups == 1:
            return self._call(sdpa, a.q, a.k, a.v, mask, a.scale)
        # Of dimensions [batch * kv heads, group], a group's queries share their keys.
        batch, kv_heads = self._size(a.q, 0), value_of(a.k).shape[1]
        many = self._product(batch, kv_heads)
        q = self._view(a.q, many, groups)
        k, v = self._view(a.k, many, 1), self._view(a.v, many, 1)
        if mask is not None and not _is_for_all(value_of(mask)):
            sizes = [batch, kv_heads * groups, self._size(mask, 2), self._size(mask, 3)]
            mask = self._view(self._call(aten.expand.default, mask, sizes), many, groups)
        out = self._call(sdpa, q, k, v, mask, a.scale)
        return self._view(out, batch, kv_heads * groups)

    # --- Masks ---

    def _added_mask(self, mask: fx.Node, dtype: torch.dtype) -> tuple[fx.Node, fx.Node | None]:
        """What is added to the scores, and the queries that see no key where there may be some."""
        if mask not in self.masks:
            known = self.folded.of(mask)
            if known is not None:
                self.masks[mask] = self._known_mask(mask, known, dtype)
            elif value_of(mask).dtype == torch.bool:
                zero = self._constant("attention_zero", torch.zeros((), dtype=dtype))
                none = self._constant("attention_none", torch.tensor(-math.inf, dtype=dtype))
                added = self._call(aten.where.self, mask, zero, none)
                most = self._call(aten.amax.default, added, [-1], True)
                self.masks[mask] = added, self._call(aten.eq.Tensor, most, none)
            else:
                most = self._call(aten.amax.default, mask, [-1], True)
                self.masks[mask] = mask, self._call(aten.eq.Scalar, most, -math.inf)
        return self.masks[mask]

    def _known_mask(
        self, mask: fx.Node, known: Tensor, dtype: torch.dtype
    ) -> tuple[fx.Node, fx.Node | None]:
        added = mask
        if known.dtype == torch.bool:
            known = torch.zeros(known.shape, dtype=dtype).masked_fill(~known, -math.inf)
            added = self._constant(f"attention_{mask.name}", known)
        hidden = known.amax(-1, keepdim=True) == -math.inf
        if not hidden.any():
            return added, None
        return added, self._constant(f"attention_{mask.name}_hidden", hidden)

    def _causal_mask(self, q: fx.Node, k: fx.Node) -> fx.Node:
        """Row i sees the keys up to i: cut from a stored mask where lengths are dynamic."""
        dtype = value_of(q).dtype
        queries, keys = (_bound(value_of(x).shape[-2]) for x in (q, k))
        assert queries is not None and keys is not None
        visible = torch.ones(queries, keys, dtype=torch.bool).tril()
        stored = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, -math.inf)
        mask = self._constant(f"attention_causal_{queries}_{keys}", stored)
        key = (mask, *(str(value_of(x).shape[-2]) for x in (q, k)))
        if key not in self.causal:
            for dim, x in enumerate((q, k)):
                if not isinstance(value_of(x).shape[-2], int):
                    end = self._size(x, -2)
                    mask = self._call(aten.slice.Tensor, mask, dim, 0, end)
            self.causal[key] = mask
        return self.causal[key]

    # --- Nodes ---

    def _call(self, target: Any, *args: Any) -> fx.Node:
        return call(self.graph, target, *args)

    def _constant(self, name: str, value: Tensor) -> fx.Node:
        suffix = "" if value.dtype in (torch.float32, torch.bool) else f"_{value.dtype}"[7:]
        return append_constant(self.program, name + suffix, value)

    def _size(self, node: fx.Node, dim: int) -> Any:
        size = value_of(node).shape[dim]
        return size if isinstance(size, int) else self._call(aten.sym_size.int, node, dim)

    def _product(self, a: Any, b: int) -> Any:
        return a * b if isinstance(a, int) else self._call(operator.mul, a, b)

    def _view(self, node: fx.Node, batch: Any, heads: int) -> fx.Node:
        sizes = [batch, heads, self._size(node, 2), self._size(node, 3)]
        return self._call(aten.reshape.default, node, sizes)


class Arguments:
    """Those of scaled_dot_product_attention."""

    def __init__(self, node: fx.Node) -> None:
        given = dict(zip(_NAMES, node.args, strict=False)) | dict(node.kwargs)
        self.q: Any = given["query"]
        self.k: Any = given["key"]
        self.v: Any = given["value"]
        self.mask: Any = given.get("attn_mask")
        self.dropout: Any = given.get("dropout_p", 0.0)
        self.causal: Any = given.get("is_causal", False)
        self.scale: Any = given.get("scale")
        self.gqa: Any = given.get("enable_gqa", False)
        self._share_heads(node)

    def groups(self) -> int:
        """Query heads that share a kv head."""
        q, k = value_of(self.q).shape, value_of(self.k).shape
        return int(q[1] // k[1]) if self.gqa and len(q) == 4 and q[1] != k[1] else 1

    def _share_heads(self, attention: fx.Node) -> None:
        """What is written out for each head of a group is read as often: share it instead."""
        written_out = self.k, self.v
        shared = [_unrepeated(x, attention) for x in written_out]
        heads = value_of(self.q).shape[1]
        alike = all(statically_known_true(value_of(x).shape[1] == heads) for x in written_out)
        if self.gqa or None in shared or not alike:
            return
        (self.k, self.v), self.gqa = shared, True
        if not self._has_groups(*(value_of(x) for x in (self.q, *shared))):
            (self.k, self.v), self.gqa = written_out, False

    def can_be_whole(self) -> bool:
        """Whether `et_vk.sdpa` can say it."""
        q, k, v = (value_of(x) for x in (self.q, self.k, self.v))
        if not 2 <= q.dim() == k.dim() == v.dim() <= 4 or self.dropout:
            return False
        if q.dtype not in (torch.float32, torch.float16) or not q.dtype == k.dtype == v.dtype:
            return False
        if not isinstance(q.shape[-1], int) or q.shape[-1] == 0:
            return False
        if not (self.scale is None or isinstance(self.scale, float | int)):
            return False
        if self.gqa and not self._has_groups(q, k, v):
            return False
        if self.mask is not None:
            mask = value_of(self.mask)
            return mask.dim() <= q.dim() and mask.dtype in (torch.bool, q.dtype) and mask.dim() > 0
        return not self.causal or all(_bound(x.shape[-2]) is not None for x in (q, k))

    def _has_groups(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        if q.dim() != 4:
            return False
        whole = all(isinstance(x.shape[1], int) for x in (q, k, v)) and k.shape[1] == v.shape[1]
        one_batch = all(statically_known_true(q.shape[0] == x.shape[0]) for x in (k, v))
        mask_fits = self.mask is None or value_of(self.mask).dim() != 3
        return whole and one_batch and mask_fits and k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0


def _let_views_copy(node: fx.Node) -> None:
    """What eager's attention gives may lie in memory so that a view of its heads needs no copy."""
    for user in node.users:
        if user.target is aten.view.default:
            user.target = aten.reshape.default
        elif operator_name(user) in ("transpose", "permute", "alias"):
            _let_views_copy(user)


def _is_for_all(mask: Tensor) -> bool:
    """Whether all heads of all batches have this mask."""
    return mask.dim() < 4 or same_sizes(mask.shape[:2], (1, 1))


def _unrepeated(heads: fx.Node, reader: fx.Node) -> fx.Node | None:
    """The heads [batch, n, rows, width] of which each stands in `heads` several times in a row.

    None, too, where `reader` could find them changed since they were repeated.
    """
    given = found = _behind_copies(heads)
    x: Any
    if given.target is aten.repeat_interleave.self_int:
        x, repeats, *dim = given.args
        is_heads = dim in ([1], [-3]) and value_of(x).dim() == 4 and isinstance(repeats, int)
        return x if is_heads and not _writes_between(given, reader) else None
    # [:, :, None].expand(batch, n, repeats, rows, width).reshape(batch, n * repeats, rows, width)
    apart: Any = None
    for names, dims in ({"reshape", "view", "_unsafe_view"}, 4), ({"expand"}, 5):
        apart = value_of(found).shape if operator_name(found) in names else ()
        if len(apart) != dims:
            return None
        found = _behind_copies(found.args[0])
    if operator_name(found) != "unsqueeze" or found.args[1] not in (2, -3):
        return None
    x = found.args[0]
    batch, n, repeats, *row = apart
    if not all(isinstance(count, int) for count in (n, repeats)):
        return None
    same = same_sizes(value_of(x).shape, (batch, n, *row)) and same_sizes(
        value_of(given).shape, (batch, n * repeats, *row)
    )
    return x if same and not _writes_between(given, reader) else None


def _writes_between(first: fx.Node, last: fx.Node) -> bool:
    """Whether a call behind the first and before the last writes what it is given."""
    node = first.next
    while node is not last:
        if writes(node):
            return True
        node = node.next
    return False


def _behind_copies(node: Any) -> fx.Node:
    """What a node copies, or cuts nothing from."""
    while operator_name(node) in {"clone", "contiguous", "slice"}:
        operand: Any = node.args[0]
        if not same_sizes(value_of(node).shape, value_of(operand).shape):
            break
        node = operand
    found: fx.Node = node
    return found


def _bound(size: Any) -> int | None:
    """The largest that a size may be; None past what a stored mask may have."""
    if not isinstance(size, int):
        node = size.node
        upper = bound_sympy(node.expr, node.shape_env.var_to_range).upper
        if not upper.is_Integer:
            return None
        size = int(upper)
    return size if size <= _MOST_POSITIONS else None
