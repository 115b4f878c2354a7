"""Importing this makes exports of small modules quick: what never changes is looked up once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch._export.utils
from executorch.backends.vulkan.patterns import fusable_patterns

# The partitioner traces the graphs of its own rope patterns anew for every lowering, which is three
# quarters of a small module's export time. They never change.
for _pattern in fusable_patterns.values():
    if _pattern.get_graphs_fn is not None:
        _pattern.get_graphs_fn = functools.cache(_pattern.get_graphs_fn)


def _once_for_the_same_operators(materialize: Callable[[], None]) -> Callable[[], None]:
    """torch looks every composite operator up anew, some 40 times for an export: two thirds of what
    is left of a small module's time."""
    seen = 0

    def look_up() -> None:
        nonlocal seen
        count = len(torch._C._dispatch_get_registrations_for_dispatch_key(_COMPOSITE))
        if count != seen:
            materialize()
        seen = count

    return look_up


_COMPOSITE = "CompositeImplicitAutograd"
torch._export.utils._materialize_cpp_cia_ops = _once_for_the_same_operators(
    torch._export.utils._materialize_cpp_cia_ops
)
