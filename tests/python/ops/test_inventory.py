"""Every operator that the partitioner knows is either supported or listed here as missing."""

from __future__ import annotations

import operator
import re
from typing import Any

import pytest
import torch
from executorch.backends.vulkan.op_registry import vulkan_supported_ops
from support.capi import ModelError
from support.delegate import GraphBuilder

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

# Known to the partitioner and not to this runtime, by family.
MISSING: dict[str, set[str]] = {}


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


def is_supported(name: str) -> bool:
    """A call without arguments is refused either for its name or for its arguments."""
    g = GraphBuilder()
    g.call(name, out=(torch.float32, (1,)))
    g.output(g.input(torch.float32, (1,)))
    with pytest.raises(ModelError) as caught:
        g.load()
    unknown = re.search(r"operator '([^']+)' is not supported", str(caught.value))
    assert unknown is None or unknown.group(1) == name
    return unknown is None


def test_the_registry_is_covered() -> None:
    names = {serialized_name(key) for key in vulkan_supported_ops}
    assert {"sym_size.int", "add", "sdpa_with_kv_cache.default", "et_vk.sdpa.default"} <= names
    listed = set().union(*MISSING.values()) if MISSING else set()
    missing = {name for name in names - FOLDED if not is_supported(name)}
    assert missing == listed, (
        f"newly missing: {sorted(missing - listed)}; listed, yet supported: "
        f"{sorted(listed - missing)}"
    )


def test_names_of_symbolic_arithmetic() -> None:
    for function in (operator.add, operator.sub, operator.mul, operator.floordiv):
        assert is_supported(serialized_name(function))
