"""Every operator that the partitioner knows is either supported or listed here as missing."""

from __future__ import annotations

import operator
import re

import pytest
import torch
from support.capi import ModelError
from support.delegate import GraphBuilder
from support.registry import registered_names, serialized_name

# Known to the partitioner and not to this runtime, by family.
MISSING: dict[str, set[str]] = {}


def is_supported(name: str) -> bool:
    """A call without arguments is refused either for its name or for its arguments."""
    g = GraphBuilder()
    g.call(name, out=(torch.float32, (1,)))
    g.output(g.input(torch.float32, (1,)))
    with pytest.raises(ModelError) as caught:
        g.load()
    unknown = re.search(r"operators that are not supported: (\S+) \(call 0\)", str(caught.value))
    assert unknown is None or unknown.group(1) == name
    return unknown is None


def test_the_registry_is_covered() -> None:
    names = registered_names()
    assert {"sym_size.int", "add", "sdpa_with_kv_cache.default", "et_vk.sdpa.default"} <= names
    listed = set().union(*MISSING.values()) if MISSING else set()
    missing = {name for name in names if not is_supported(name)}
    assert missing == listed, (
        f"newly missing: {sorted(missing - listed)}; listed, yet supported: "
        f"{sorted(listed - missing)}"
    )


def test_names_of_symbolic_arithmetic() -> None:
    for function in (operator.add, operator.sub, operator.mul, operator.floordiv):
        assert is_supported(serialized_name(function))
