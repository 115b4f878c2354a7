"""A program decomposed, where calls that are like earlier ones are not traced again.

torch decomposes a program by running it under four modes at once, twice, which takes milliseconds
for each call; and one layer of a network is like the next. Here the first call of an operator with
operands that look the same is traced as torch does it, and what came of it is written down again
for the others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch._functorch._aot_autograd.functional_utils import to_fun
from torch._higher_order_ops.auto_functionalize import (
    auto_functionalized,
    auto_functionalized_v2,
)
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.fx.experimental.proxy_tensor import (
    _ProxyTensor,
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
    py_sym_types,
    set_proxy_slot,
    snapshot_fake,
)
from torch.fx.experimental.symbolic_shapes import PropagateUnbackedSymInts
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

# These take what they write as operands, and give copies.
COPYING = (auto_functionalized, auto_functionalized_v2)

# Equal for operands that look the same; None where that cannot be told.
Look = Callable[[Any], Any]


class Repeating(PropagateUnbackedSymInts):
    """The interpreter that runs a program for its decomposition.

    It runs twice: at first only to see what the program does, then with a tracer that writes nodes
    down. Results of repeated calls are no tensors until a call takes them that is traced.
    """

    def __init__(self, look: Look, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.look = look
        mode = get_proxy_mode()
        self.tracer: Any = None if mode is None else mode.tracer
        self.apart = _apart(self.graph)
        self.calls: dict[Any, _Call] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.target is operator.getitem and type(n.args[1]) is int:
            whole = self.env[n.all_input_nodes[0]]
            if isinstance(whole, list | tuple) and isinstance(whole[n.args[1]], _Repeated):
                return whole[n.args[1]]
        operands = _Operands(self, n) if self._may_be_repeated(n) else None
        if operands is None or operands.key is None:
            return super().run_node(n)
        if operands.key in self.calls:
            with self._set_current_node(n):
                return self.calls[operands.key].again(operands)
        before = _State(self.tracer)
        result = super().run_node(n)
        call = _Call.traced(operands, result, before)
        if call is not None:
            self.calls[operands.key] = call
        return result

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """For calls that are traced."""
        return tree_map(_as_tensor, super().fetch_args_kwargs_from_env(n))

    def _may_be_repeated(self, node: fx.Node) -> bool:
        return (
            node.op == "call_function"
            and isinstance(node.target, OpOverload)
            and not node.target._schema.is_mutable
            and "unbacked_bindings" not in node.meta
            and node not in self.apart
            and self.apart.isdisjoint(node.all_input_nodes)
        )


def _apart(graph: fx.Graph) -> set[fx.Node]:
    """What may lie in the memory of something that is written or given out.

    Which of them do is torch's to find out.
    """
    groups: dict[fx.Node, fx.Node] = {}

    def group(node: fx.Node) -> fx.Node:
        while node in groups:
            node = groups[node]
        return node

    marked: list[fx.Node] = []
    for node in graph.nodes:
        written, given = _aliases(node)
        for operand in filter(_is_no_size, given):
            if group(operand) is not group(node):
                groups[group(node)] = group(operand)
        marked += filter(_is_no_size, written)
    roots = set(map(group, marked))
    return {node for node in graph.nodes if group(node) in roots}


def _aliases(node: fx.Node) -> tuple[Iterable[fx.Node], Iterable[fx.Node]]:
    """Those operands that a node may write or give out, and those that its results may be part of.

    Composite operators do not say of what their results are part.
    """
    everything = node.all_input_nodes
    if node.target in COPYING:
        return (), ()
    if node.target is operator.getitem:
        return (), everything
    if not isinstance(node.target, OpOverload):
        return everything, everything
    arguments = {a.name: a.alias_info for a in node.target._schema.arguments}
    operands = {**dict(zip(arguments, node.args, strict=False)), **node.kwargs}
    aliases = {name: alias for name, alias in arguments.items() if alias and name in operands}
    written = _nodes(operands[name] for name, alias in aliases.items() if alias.is_write)
    if node.target._can_decompose():
        return written, everything
    return written, _nodes(operands[name] for name in aliases)


def _nodes(operands: Iterable[Any]) -> list[fx.Node]:
    return [x for x in tree_leaves(list(operands)) if isinstance(x, fx.Node)]


@dataclass
class _Repeated:
    """A result of a repeated call: its node, if there is a tracer, and what the first call gave."""

    node: fx.Node | None
    like: FunctionalTensor
    tracer: Any
    tensor: FunctionalTensor | None = None

    def as_tensor(self) -> FunctionalTensor:
        """One of its own: what torch finds in a tensor, as how many are not 0, it keeps with it."""
        if self.tensor is None:
            known = _inner(self.like) if self.node is None else self.node.meta["val"]
            inner: Any = snapshot_fake(known)
            if self.node is not None:
                proxy = self.tracer.proxy(self.node)
                set_proxy_slot(inner, self.tracer, _ProxyTensor(proxy, None))
            self.tensor = to_fun(inner)
        return self.tensor


def _as_tensor(value: Any) -> Any:
    return value.as_tensor() if isinstance(value, _Repeated) else value


class _Operands:
    """Of a call: its tensors' nodes in the graph that is written, and a key.

    The key is that of another call where the same nodes would come of both. It is None where the
    call must be traced.
    """

    def __init__(self, run: Repeating, node: fx.Node) -> None:
        self.tracer = run.tracer
        self.nodes: list[fx.Node] = []
        self.key: Any = None
        values = fx.node.map_arg((node.args, node.kwargs), run.env.__getitem__)
        tensors: list[Any] = [x for x in tree_leaves(values) if isinstance(x, Tensor | _Repeated)]
        if not tensors or None in map(_inner, tensors):
            return
        if run.tracer is not None:
            nodes = [_node(tensor, run.tracer) for tensor in tensors]
            if None in nodes:
                return
            self.nodes = nodes  # type: ignore[assignment]
        look = run.look(tree_map(_inner, values))
        if look is not None:
            # Operands that are one, or lie in the same memory, may be taken for that.
            storages = [_storage(node.meta["val"]) for node in self.nodes]
            self.key = node.target, look, _firsts(self.nodes), _firsts(storages)


def _inner(value: Any) -> Any:
    """The tensor inside of what stands for one; None for those of other kinds."""
    tensor = value.like if isinstance(value, _Repeated) else value
    if isinstance(tensor, FunctionalTensor):
        inner = torch._from_functional_tensor(tensor.elem)
        return inner if type(inner) is FakeTensor else None
    return None if isinstance(tensor, Tensor) else tensor


def _node(value: FunctionalTensor | _Repeated, tracer: Any) -> fx.Node | None:
    """None for what has none, or whose elements the tracer knows."""
    if isinstance(value, _Repeated):
        return value.node
    slot = get_proxy_slot(_inner(value), tracer, None)
    if slot is None or slot.constant is not None:
        return None
    node: fx.Node = slot.proxy.node
    return node if type(node.meta.get("val")) is FakeTensor else None


def _storage(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


def _firsts(values: list[Any]) -> tuple[int, ...]:
    return tuple(map(values.index, values))


class _State:
    """Of a tracer, before a call."""

    def __init__(self, tracer: Any) -> None:
        if tracer is not None:
            self.last = next(iter(reversed(tracer.graph.nodes)))
            self.counts = dict(tracer.torch_fn_counts)


@dataclass
class _Call:
    """One that was traced.

    Attributes:
        nodes: what came of it, but for sizes; those are the same for all calls like it.
        given: those of its results. A tensor that a later call gives out again has that one's.
        functions: torch's own, and how many times it called them.
    """

    operands: _Operands
    result: Any
    before: _State
    nodes: list[fx.Node] = field(default_factory=list)
    given: list[fx.Node | None] = field(default_factory=list)
    functions: dict[Any, int] = field(default_factory=dict)
    function: Any = None

    @staticmethod
    def traced(operands: _Operands, result: Any, before: _State) -> _Call | None:
        """None if another call like it must be traced, too."""
        leaves = tree_leaves(result)
        if not all(isinstance(x, FunctionalTensor) and _inner(x) is not None for x in leaves):
            return None
        call = _Call(operands, result, before)
        if operands.tracer is not None:
            call._note(operands.tracer)
            if not call._can_be_repeated():
                return None
        return call

    def _note(self, tracer: Any) -> None:
        node = self.before.last.next
        while node.op != "root":
            if _is_no_size(node):
                self.nodes.append(node)
            node = node.next
        counts = tracer.torch_fn_counts
        before = self.before.counts
        self.functions = {f: n - before.get(f, 0) for f, n in counts.items() if n != before.get(f)}
        self.function = tracer.torch_fn_metadata

    def _can_be_repeated(self) -> bool:
        known = set(self.operands.nodes)
        storages = {_storage(node.meta["val"]) for node in known}
        for node in self.nodes:
            kinds = (OpOverload, type(operator.getitem))
            if node.op != "call_function" or not isinstance(node.target, kinds):
                return False
            if any(n not in known and _is_no_size(n) for n in node.all_input_nodes):
                return False
            for tensor in tree_leaves(node.meta.get("val")):
                if type(tensor) is not FakeTensor:
                    return False
                # Of a part of memory whose whole has no node.
                offset = tensor.storage_offset()
                if _storage(tensor) not in storages and not (type(offset) is int and offset == 0):
                    return False
                storages.add(_storage(tensor))
            known.add(node)
        self.given = [_node(x, self.operands.tracer) for x in tree_leaves(self.result)]
        return known.difference(self.operands.nodes).issuperset(self.given)

    def again(self, operands: _Operands) -> Any:
        """The result of another call, for which the same nodes are written down."""
        tracer = operands.tracer
        if tracer is None:
            return tree_map(lambda x: _Repeated(None, x, None), self.result)
        new: dict[Any, fx.Node] = dict(zip(self.operands.nodes, operands.nodes, strict=True))
        counts, before = tracer.torch_fn_counts, self.before.counts
        since = {_kind(f): counts.get(f, 0) - before.get(f, 0) for f in self.functions}
        memory = {_storage(old.meta["val"]): node.meta["val"] for old, node in new.items()}
        for node in self.nodes:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: new.get(n, n))
            new[node] = tracer.create_node("call_function", node.target, args, kwargs, _name(node))
            _describe(new[node], node, memory, since)
        for function, times in self.functions.items():
            counts[function] = counts.get(function, 0) + times
        tracer.torch_fn_metadata = self.function
        leaves, form = tree_flatten(self.result)
        results = [_Repeated(new[n], x, tracer) for n, x in zip(self.given, leaves, strict=True)]
        return tree_unflatten(results, form)


def _describe(
    new: fx.Node, old: fx.Node, memory: dict[int, FakeTensor], since: dict[str, int]
) -> None:
    """What a tracer says of a node as soon as it knows what it gives."""
    if "val" in old.meta:
        new.meta["val"] = tree_map(lambda x: alike(x, memory), old.meta["val"])
    for key in ("original_aten", "tensor_meta"):
        if key in old.meta:
            new.meta[key] = old.meta[key]
    # As "mul_3", of the third call of this function. It may be that of a call before.
    numbered, kind = old.meta.get("torch_fn", (None, None))
    if kind in since:
        name, _, number = numbered.rpartition("_")
        new.meta["torch_fn"] = (f"{name}_{int(number) + since[kind]}", kind)


def _kind(function: Any) -> str:
    """As torch has it."""
    return f"{function.__class__.__name__}.{function.__name__}"


def _name(node: fx.Node) -> str | None:
    """What torch has nodes begin with; None for what the graph itself knows."""
    if not isinstance(node.target, OpOverload):
        return None
    return node.graph._target_to_str(node.target.overloadpacket.__name__)


def _is_no_size(node: fx.Node) -> bool:
    return not isinstance(node.meta.get("val"), py_sym_types)


def alike(tensor: FakeTensor, memory: dict[int, FakeTensor] | None = None) -> FakeTensor:
    """Another one that looks the same, in the memory that stands for its own."""
    memory = {} if memory is None else memory
    mode = tensor.fake_mode
    shape, stride, offset = tensor.shape, tensor.stride(), tensor.storage_offset()
    place = memory.get(_storage(tensor))
    guards = mode.shape_env.suppress_guards() if mode.shape_env else nullcontext()
    with in_kernel_invocation_manager(mode), guards, disable_proxy_modes_tracing():
        new = torch.empty_strided(shape, stride, dtype=tensor.dtype, device="meta")
        if place is not None:
            new.set_(place.untyped_storage(), offset, shape, stride)
    result = FakeTensor(mode, new, tensor.device)
    memory.setdefault(_storage(tensor), result)
    return result
