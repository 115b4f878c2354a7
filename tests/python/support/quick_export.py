"""Importing this makes exports of small modules quick: what never changes is looked up once.

Upstream's own exports, too: `lowering/quick.py` does the same for ours only while they last. The
rope patterns are three quarters of a small module's time, and composite operators, of which torch
looks every one up some 40 times for an export, two thirds of what is left.
"""

from __future__ import annotations

import torch._export.utils
from executorch.backends.vulkan.patterns import fusable_patterns
from executorch_webgpu.lowering.quick import only_for_new_operators, traced_once

for _pattern in fusable_patterns.values():
    if _pattern.get_graphs_fn is not None:
        _pattern.get_graphs_fn = traced_once(_pattern.get_graphs_fn)

torch._export.utils._materialize_cpp_cia_ops = only_for_new_operators(
    torch._export.utils._materialize_cpp_cia_ops
)
