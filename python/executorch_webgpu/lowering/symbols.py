"""What is known of the numbers that a program reads from its tensors, as of a token's position.

The exporter's passes go through a graph again and again, and each gives such a number a new symbol.
What the program asserts of it may be outside of the delegate that reads it, and what is cut from a
tensor at that number is then refused, for it could be less than nothing. Here the symbol stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from executorch.exir.dialects._ops import ops as edge_ops
from executorch.exir.pass_base import _ExportPassBase
from torch._higher_order_ops.executorch_call_delegate import executorch_call_delegate
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .quick import Part, given_out, replaced

_READS = (
    torch.ops.aten._local_scalar_dense.default,
    edge_ops.edge.et_vk.select_as_symint.default,
)


@contextmanager
def keeping_symbols() -> Iterator[None]:
    """Numbers that a program reads stay what they are from one pass to the next."""
    part = Part(_ExportPassBase, "_fx", "self kind target args kwargs meta", _keeping)
    with replaced([part]):
        yield


def _keeping(upstream: Callable[..., Any]) -> Callable[..., Any]:
    def fx_of_pass(self: Any, kind: Any, target: Any, args: Any, kwargs: Any, meta: Any) -> Any:
        known = _known(target, args, meta.data.get("val"))
        if known is None:
            return upstream(self, kind, target, args, kwargs, meta)
        with patch.object(self, "interpreter", SimpleNamespace(call_function=lambda *_: known)):
            return upstream(self, kind, target, args, kwargs, meta)

    return fx_of_pass


def _known(target: Any, args: Any, before: Any) -> Any:
    """What a call gives that reads a number, or of a delegate that reads some."""
    if target is executorch_call_delegate:
        delegated = args[0].original_module
        reads = any(node.target in _READS for node in delegated.graph.nodes)
        return given_out(delegated) if reads else None
    is_read = target in _READS and isinstance(before, torch.SymInt)
    return before if is_read and free_unbacked_symbols(before) else None
