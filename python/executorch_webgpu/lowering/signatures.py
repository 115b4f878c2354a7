"""A signature's tables, which torch makes anew for everybody who looks something up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.export.graph_signature import ExportGraphSignature

TABLES = (
    "inputs_to_parameters",
    "inputs_to_buffers",
    "inputs_to_lifted_tensor_constants",
    "buffers_to_mutate",
)


class Tables:
    """Those of signatures that have not changed since."""

    def __init__(self) -> None:
        self.changes = 0
        # The lists are copies, of the same specifications.
        self.made: dict[tuple[int, Any], tuple[Any, int, list[Any], Any]] = {}

    def noting(self, upstream: Callable[..., None]) -> Callable[..., None]:
        """A specification's or argument's `__setattr__`; what it has at first is no change."""

        def set_attribute(spec: Any, name: str, value: Any) -> None:
            self.changes += name in spec.__dict__
            upstream(spec, name, value)

        return set_attribute

    def kept(self, upstream: property) -> property:
        make = upstream.fget
        assert make is not None

        def table(signature: ExportGraphSignature) -> Any:
            specs = [*signature.input_specs, *signature.output_specs]
            found = self.made.get((id(signature), make))
            if found is None or found[1:3] != (self.changes, specs):
                found = signature, self.changes, specs, make(signature)
                self.made[id(signature), make] = found
            return found[3]

        return property(table)
