"""The exporter in a fraction of its time, with the same bytes for a result.

Upstream runs some twenty passes, and each walks the whole graph again: it computes every node's sizes
anew, checks everything before and after, and copies where a node came from. Here what does not
change from one pass to the next is kept, for the time of one export. Each part stands for one
function of upstream's, and is left out where that function is not the one it was written for.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
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
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.traceback import NodeSource

# Called after each walk over a graph.
Walked = Callable[[], None]


@dataclass(frozen=True)
class _Part:
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
        found = getattr(found, "__func__", found)
        return " ".join(inspect.signature(found).parameters) == self.parameters


@contextmanager
def quick_upstream(walked: Walked | None = None) -> Iterator[None]:
    """Export quickly inside; `walked` hears of every walk over a graph."""
    with ExitStack() as stack:
        for part in _parts(walked or _nothing):
            if part.fits():
                made = part.make(getattr(part.owner, part.name, None))
                create = part.parameters is None
                stack.enter_context(patch.object(part.owner, part.name, made, create=create))
        for entry in fusable_patterns.values():
            if entry.get_graphs_fn is not None:
                graphs = _once(entry.get_graphs_fn)
                stack.enter_context(patch.object(entry, "get_graphs_fn", graphs))
        yield


def _parts(walked: Walked) -> list[_Part]:
    sizes = _Sizes()
    return [
        _Part(_ExportPassBase, "_fx", "self kind target args kwargs meta", sizes.in_a_pass),
        _Part(_ExportPassBase, "call", "self graph_module", functools.partial(_told, walked)),
        _Part(
            ExportedProgram,
            "run_decompositions",
            "self decomp_table decompose_custom_triton_ops",
            functools.partial(_told, walked),
        ),
        _Part(ExportedProgramPassManager, "check", "self exported_program", lambda _: _no_check),
        _Part(
            BackendDetails,
            "copy_exported_program_for_preprocess",
            "cls edge_program compile_specs",
            lambda _: classmethod(_copy_without_weights),
        ),
        _Part(NodeSource, "__deepcopy__", None, lambda _: lambda source, memo: source),
        _Part(export_utils, "_materialize_cpp_cia_ops", "", _only_for_new_operators),
    ]


# --- Sizes ---


class _Sizes:
    """What operators gave for the tensors they were called with, in earlier passes.

    Graphs hold tensors without elements: the same operator of the same ones gives the same again.
    A second call of the same in one pass has a result of its own, as upstream has it.
    """

    def __init__(self) -> None:
        # Beside each result are the operands: their ids are others' once they are gone.
        self.results: dict[Any, tuple[Any, Any]] = {}

    def in_a_pass(self, upstream: Any) -> Any:
        """`_ExportPassBase._fx`, whose interpreter looks here first."""

        def fx_of_pass(
            self: Any, kind: Any, target: Any, args: Any, kwargs: Any, meta: Any
        ) -> Any:
            # Every walk has an interpreter of its own.
            if type(self.interpreter) is fx.Interpreter:
                self.interpreter = _Interpreter(sizes)
            return upstream(self, kind, target, args, kwargs, meta)

        sizes = self
        return fx_of_pass


class _Interpreter(fx.Interpreter):
    """That of one walk."""

    def __init__(self, sizes: _Sizes) -> None:
        super().__init__(_EMPTY)
        self.sizes = sizes
        self.times: Counter[Any] = Counter()

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        operator = target._op if isinstance(target, EdgeOpOverload) else target
        if not isinstance(operator, OpOverload) or operator._schema.is_mutable:
            return super().call_function(target, args, kwargs)
        key = _key((args, kwargs))
        if key is None:
            return super().call_function(target, args, kwargs)
        call = operator, key
        self.times[call] += 1
        call = *call, self.times[call]
        if call not in self.sizes.results:
            result = super().call_function(target, args, kwargs)
            if not _can_be_kept(result):
                return result
            self.sizes.results[call] = result, (args, kwargs)
        return self.sizes.results[call][0]


_EMPTY = fx.GraphModule(torch.nn.Module(), fx.Graph())
_PLAIN = (int, float, bool, str, torch.dtype, torch.device, torch.layout, torch.memory_format)


def _key(value: Any) -> Any:
    """Equal for equal operands; None where that cannot be told."""
    kind = type(value)
    if kind is FakeTensor:
        return kind, id(value)
    if kind is torch.SymInt:
        node = value.node
        return kind, id(node.shape_env), node._expr
    if value is None or kind in _PLAIN:
        return kind, value
    if isinstance(value, tuple | list):
        keys = tuple(map(_key, value))
        return None if None in keys else (tuple, *keys)
    if isinstance(value, dict):
        keys = tuple(map(_key, value.values()))
        return None if None in keys else (dict, *value, *keys)
    return None


def _can_be_kept(result: Any) -> bool:
    """Of new symbols every call has its own."""
    if isinstance(result, tuple | list):
        return all(map(_can_be_kept, result))
    return type(result) is FakeTensor and not free_unbacked_symbols(result)


# --- The rest ---


def _told(walked: Walked, upstream: Any) -> Any:
    @functools.wraps(upstream)
    def walk(*args: Any, **kwargs: Any) -> Any:
        result = upstream(*args, **kwargs)
        walked()
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


def _only_for_new_operators(materialize: Callable[[], None]) -> Callable[[], None]:
    """Looks every composite operator up, which needs to be done but once for each."""
    seen = 0

    def look_up() -> None:
        nonlocal seen
        count = len(torch._C._dispatch_get_registrations_for_dispatch_key(_COMPOSITE))
        if count != seen:
            materialize()
        seen = count

    return look_up


_COMPOSITE = "CompositeImplicitAutograd"
# The partitioner traces its own patterns of rope for every lowering; they never change.
_once = functools.cache(functools.cache)


def _nothing() -> None:
    pass
