"""The exporter in a fraction of its time, with the same bytes for a result.

Upstream runs some twenty passes, and each walks the whole graph again: it computes every node's
sizes anew, checks everything before and after, and copies where a node came from. Here what does
not change from one pass to the next is kept, for the time of one export. Each part stands for one
function of upstream's, and is left out where that function is not the one it was written for.
"""

from __future__ import annotations

import copy
import functools
import gc
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch._export.utils as export_utils
from executorch.backends.vulkan.patterns import fusable_patterns
from executorch.backends.vulkan.vulkan_preprocess import VulkanBackend
from executorch.exir.backend.backend_details import BackendDetails
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from executorch.exir.pass_base import _ExportPassBase
from executorch.exir.pass_manager import ExportedProgramPassManager
from torch import Tensor, fx
from torch._export.pass_base import _ExportPassBaseDeprecatedDoNotUse as _ATenPass
from torch._functorch._aot_autograd import graph_capture_wrappers
from torch._higher_order_ops.executorch_call_delegate import executorch_call_delegate
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx.experimental.symbolic_shapes import (
    PropagateUnbackedSymInts,
    free_unbacked_symbols,
)
from torch.fx.passes.utils.matcher_utils import SubgraphMatcher
from torch.fx.traceback import NodeSource
from torch.utils._pytree import tree_map

from .compiled import Compiling
from .matching import connected
from .repeated import COPYING, Repeating, alike
from .signatures import TABLES, Tables

# Called after each walk over a graph with its share of the work: 1 for a pass.
Walked = Callable[[int], None]
_DECOMPOSITION = 15  # it traces everything twice


@dataclass(frozen=True)
class Part:
    """What stands for a function of upstream's while a program is exported.

    Attributes:
        parameters: the names that the function's must have; None where there is none yet.
        make: of the function, what stands for it.
    """

    owner: Any
    name: str
    parameters: str | None
    make: Callable[[Any], Any]

    def fits(self) -> bool:
        """Whether upstream's function is there, and takes what it is expected to take."""
        found = inspect.getattr_static(self.owner, self.name, None)
        if found is None or self.parameters is None:
            return found is self.parameters
        found = getattr(found, "__func__", getattr(found, "fget", found))
        return " ".join(inspect.signature(found).parameters) == self.parameters


@contextmanager
def replaced(parts: Iterable[Part]) -> Iterator[None]:
    """Those that fit stand for upstream's functions inside."""
    with ExitStack() as stack:
        for part in parts:
            if part.fits():
                made = part.make(getattr(part.owner, part.name, None))
                create = part.parameters is None
                stack.enter_context(patch.object(part.owner, part.name, made, create=create))
        yield


@contextmanager
def quick_upstream(walked: Walked | None = None) -> Iterator[None]:
    """Export quickly inside; `walked` hears of every walk over a graph.

    Inside another one, the other one's is what happens.
    """
    if _Sizes.in_use:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(patch.object(_Sizes, "in_use", True))
        stack.enter_context(_seldom_collecting())
        compiling = Compiling()
        stack.enter_context(replaced(_parts(walked or _nothing, compiling)))
        for entry in fusable_patterns.values():
            if entry.get_graphs_fn is not None:
                graphs = traced_once(entry.get_graphs_fn)
                stack.enter_context(patch.object(entry, "get_graphs_fn", graphs))
        yield
        compiling.finish()


def _parts(walked: Walked, compiling: Compiling) -> list[Part]:
    sizes, tables = _Sizes(), Tables()
    return [
        Part(fx.GraphModule, "recompile", "self", compiling.lazily),
        Part(_ExportPassBase, "_fx", "self kind target args kwargs meta", sizes.in_a_pass),
        Part(_ATenPass, "_fx", "self kind target args kwargs meta", sizes.in_a_pass),
        Part(
            graph_capture_wrappers,
            "PropagateUnbackedSymInts",
            "module garbage_collect_values graph",
            lambda _: functools.partial(Repeating, sizes.key),
        ),
        Part(
            ExportedProgram,
            "run_decompositions",
            "self decomp_table decompose_custom_triton_ops",
            lambda upstream: _told(walked, _DECOMPOSITION, sizes.decomposing(upstream)),
        ),
        Part(
            _ExportPassBase,
            "call",
            "self graph_module",
            lambda upstream: _told(walked, 1, upstream),
        ),
        Part(ExportedProgramPassManager, "check", "self exported_program", lambda _: _no_check),
        Part(
            BackendDetails,
            "copy_exported_program_for_preprocess",
            "cls edge_program compile_specs",
            lambda _: classmethod(_copy_without_weights),
        ),
        Part(SubgraphMatcher, "_match_nodes", "self pn gn match node_name_match", connected),
        *(Part(ExportGraphSignature, name, "self", tables.kept) for name in TABLES),
        *(Part(kind, "__setattr__", "self name value", tables.noting) for kind in _SPECS),
        Part(NodeSource, "__deepcopy__", None, lambda _: lambda source, memo: source),
        Part(export_utils, "_materialize_cpp_cia_ops", "", only_for_new_operators),
    ]


def _traced_as_upstream(upstream: Any, *args: Any, **kwargs: Any) -> ExportedProgram:
    """A program's decomposition where the quick one failed: what is wrong may be that alone."""
    with patch.object(graph_capture_wrappers, "PropagateUnbackedSymInts", PropagateUnbackedSymInts):
        program: ExportedProgram = upstream(*args, **kwargs)
        return program


# --- Sizes ---


class _Sizes:
    """What operators gave in earlier passes, by what they were called with.

    Graphs hold tensors without elements: the same operator of such as look the same gives one that
    looks the same. A second such call in one pass has a result of its own, as upstream has it.
    """

    in_use = False

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}
        # By id. The tensors are kept, since their ids are others' once they are gone.
        self.looks: dict[int, tuple[Any, FakeTensor]] = {}

    def in_a_pass(self, upstream: Any) -> Any:
        """A pass's `_fx`, whose interpreter looks here first."""

        def fx_of_pass(self: Any, kind: Any, target: Any, args: Any, kwargs: Any, meta: Any) -> Any:
            # Every walk has an interpreter of its own.
            if type(self.interpreter) in (fx.Interpreter, PropagateUnbackedSymInts):
                self.interpreter = _Interpreter(sizes)
            return upstream(self, kind, target, args, kwargs, meta)

        sizes = self
        return fx_of_pass

    def decomposing(self, upstream: Any) -> Any:
        """`run_decompositions`, which computes the sizes of all that it gives."""

        @functools.wraps(upstream)
        def decompose(*args: Any, **kwargs: Any) -> ExportedProgram:
            try:
                program: ExportedProgram = upstream(*args, **kwargs)
            except Exception:
                program = _traced_as_upstream(upstream, *args, **kwargs)
            times: Counter[Any] = Counter()
            for node in program.graph.nodes:
                if node.op == "call_function" and "val" in node.meta:
                    operands = fx.node.map_arg((node.args, node.kwargs), _value)
                    call = self.call(node.target, *operands, times)
                    if call is not None and _can_be_kept(node.meta["val"]):
                        self.results.setdefault(call, node.meta["val"])
            return program

        return decompose

    def call(self, target: Any, args: Any, kwargs: Any, times: Counter[Any]) -> Any:
        """A call's key: which of those with such operands it is; None where it must be made."""
        operator = target._op if isinstance(target, EdgeOpOverload) else target
        if not _gives_new_tensors(operator):
            return None
        key = self.key((args, kwargs))
        if key is None or not _has_tensor((args, kwargs)):  # whose mode the result has
            return None
        times[operator, key] += 1
        return operator, key, times[operator, key]

    def key(self, value: Any) -> Any:
        """Equal for operands that look the same; None where that cannot be told."""
        kind = type(value)
        if kind is FakeTensor:
            if id(value) not in self.looks:
                self.looks[id(value)] = self._look(value), value
            return self.looks[id(value)][0]
        if kind is torch.SymInt:
            return kind, id(value.node.shape_env), value.node.expr
        if value is None or kind in _PLAIN:
            return kind, value
        if isinstance(value, tuple | list):
            keys = tuple(map(self.key, value))
            return None if None in keys else (tuple, *keys)
        if isinstance(value, dict):
            keys = tuple(map(self.key, value.values()))
            return None if None in keys else (dict, *value, *keys)
        return None

    def _look(self, tensor: FakeTensor) -> Any:
        if tensor.layout is not torch.strided or tensor.constant is not None:
            return FakeTensor, id(tensor)
        numbers = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
        kind = (tensor.dtype, tensor.device, tensor.requires_grad, id(tensor.fake_mode))
        return FakeTensor, kind, self.key(numbers)


class _Interpreter(fx.Interpreter):
    """That of one walk."""

    def __init__(self, sizes: _Sizes) -> None:
        super().__init__(_EMPTY)
        self.sizes = sizes
        self.times: Counter[Any] = Counter()

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is executorch_call_delegate:
            given = given_out(args[0].original_module)
            can_be_kept = given is not None and _can_be_kept(given)
            return given if can_be_kept else super().call_function(target, args, kwargs)
        call = self.sizes.call(target, args, kwargs, self.times)
        results = self.sizes.results
        if call in results:
            return results[call]
        first = None if call is None else results.get((*call[:-1], 1))
        if first is None:
            result = super().call_function(target, args, kwargs)
        else:
            result = tree_map(alike, first)
        if call is not None and _can_be_kept(result):
            results[call] = result
        return result


def given_out(delegated: ExportedProgram) -> tuple[Any, ...] | None:
    """What a delegate gives, without the states it writes; upstream calls all that is inside.

    None where its graph does not tell.
    """
    values = {node.name: _value(node) for node in delegated.graph.output_node().all_input_nodes}
    specs = delegated.graph_signature.output_specs
    users = [spec.arg.name for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    return tuple(values[name] for name in users) if values.keys() >= set(users) else None


def _value(node: fx.Node) -> Any:
    return node.meta.get("val", node)


_EMPTY = fx.GraphModule(torch.nn.Module(), fx.Graph())
_PLAIN = (
    *(int, float, bool, str, OpOverload),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


@functools.cache
def _gives_new_tensors(operator: Any) -> bool:
    """Neither its operands, nor views of them."""
    if not isinstance(operator, OpOverload):
        return operator in COPYING
    return all(given.alias_info is None for given in operator._schema.returns)


def _has_tensor(operands: Any) -> bool:
    if isinstance(operands, tuple | list):
        return any(map(_has_tensor, operands))
    if isinstance(operands, dict):
        return any(map(_has_tensor, operands.values()))
    return type(operands) is FakeTensor


def _can_be_kept(result: Any) -> bool:
    """Of new symbols every call has its own."""
    if isinstance(result, tuple | list):
        return all(map(_can_be_kept, result))
    return type(result) is FakeTensor and not free_unbacked_symbols(result)


# --- The rest ---


def _told(walked: Walked, share: int, upstream: Any) -> Any:
    @functools.wraps(upstream)
    def walk(*args: Any, **kwargs: Any) -> Any:
        result = upstream(*args, **kwargs)
        walked(share)
        return result

    return walk


def _no_check(manager: ExportedProgramPassManager, program: ExportedProgram) -> None:
    """Upstream checks all of a graph before and after every pass; once at the end is enough."""


def _copy_without_weights(
    backend: type[BackendDetails], edge_program: ExportedProgram, compile_specs: Any
) -> ExportedProgram:
    """A copy that a backend may change; the one we know puts other tensors in place of a weight."""
    memo: dict[int, Any] = {}
    if backend is VulkanBackend:
        tensors = (*edge_program.state_dict.values(), *edge_program.constants.values())
        memo = {id(t): t for t in tensors if isinstance(t, Tensor)}
    return copy.deepcopy(edge_program, memo)


def only_for_new_operators(materialize: Callable[[], None]) -> Callable[[], None]:
    """Looks every composite operator up, which needs to be done but once for each."""
    seen = 0

    def look_up() -> None:
        nonlocal seen
        count = len(torch._C._dispatch_get_registrations_for_dispatch_key(_COMPOSITE))
        if count != seen:
            materialize()
        seen = count

    return look_up


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Graphs are millions of objects that stay; looking through them frees next to nothing."""
    thresholds = gc.get_threshold()
    gc.set_threshold(20 * thresholds[0], *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


_SPECS = (InputSpec, OutputSpec, TensorArgument)
_COMPOSITE = "CompositeImplicitAutograd"
# The partitioner traces its own patterns of rope for every lowering; they never change.
traced_once = functools.cache(functools.cache)


def _nothing(share: int) -> None:
    pass
