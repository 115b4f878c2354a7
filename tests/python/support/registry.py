"""Operators as the partitioner knows them, by the names that stand in graphs."""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.vulkan.op_registry import vulkan_supported_ops

# Never in a delegate's graph: folded into value lists or removed before serialization.
FOLDED = {
    "getitem",
    "aten.alias_copy.default",
    "aten.copy.default",
    "aten._assert_scalar.default",
    "aten.sym_constrain_range_for_size.default",
    # Comparisons of live scalars feed assertions only.
    "lt",
    "gt",
    "ge",
    "le",
    "eq",
}


def serialized_name(key: Any) -> str:
    """The name that upstream's VkGraphBuilder writes for a key of the registry."""
    if isinstance(
        key, str
    ):  # "llama::update_cache": an overload of it is written without namespace
        namespace, name = key.split("::")
        return f"{name}.default" if namespace == "llama" else f"{namespace}.{name}.default"
    if isinstance(key, torch._ops.OpOverload):
        # Edge operators carry their namespace in __name__, plain torch ones do not.
        return key.__name__ if key.__name__.startswith("sym_") else f"aten.{key.__name__}"
    return str(key.__name__)


def registered_names() -> set[str]:
    """Of all operators that a delegate's graph may have."""
    return {serialized_name(key) for key in vulkan_supported_ops} - FOLDED
