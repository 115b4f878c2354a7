"""Graphs' Python code, written and compiled when somebody wants it.

Every pass makes a module of its graph, whose code torch compiles at once; the next pass walks the
graph, and nobody ever runs the code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

# What `recompile` puts into a module and its class.
_OF_MODULE = ("_code", "_lineno_map", "_prologue_start")
_OF_CLASS = "forward"


class Compiling:
    """Of the modules whose code nobody has wanted yet."""

    def __init__(self) -> None:
        self.waiting: WeakSet[GraphModule] = WeakSet()

    def lazily(self, upstream: Callable[[GraphModule], Any]) -> Callable[[GraphModule], None]:
        """A module's `recompile`, which waits. Its class has no other module."""

        @functools.wraps(upstream)
        def recompile(module: GraphModule) -> None:
            codegen = module._graph._codegen
            if isinstance(codegen, _PyTreeCodeGen):
                module._in_spec = codegen.pytree_info.in_spec
                module._out_spec = codegen.pytree_info.out_spec
            for name in _OF_MODULE:
                module.__dict__.pop(name, None)
            for name in (*_OF_MODULE, _OF_CLASS):
                setattr(type(module), name, _Wanted(name, compile_now))
            module._recompile_submodules()
            self.waiting.add(module)

        def compile_now(module: GraphModule) -> None:
            self.waiting.discard(module)
            upstream(module)

        return recompile

    def finish(self) -> None:
        """Compile what is left."""
        for module in list(self.waiting):
            _ = module.forward


class _Wanted:
    """Stands in a class for what is there as soon as its module is compiled."""

    def __init__(self, name: str, compile_now: Callable[[GraphModule], None]) -> None:
        self.name, self.compile_now = name, compile_now

    def __get__(self, module: GraphModule | None, owner: type[GraphModule]) -> Any:
        if module is None:
            return self
        self.compile_now(module)
        return getattr(module, self.name)
