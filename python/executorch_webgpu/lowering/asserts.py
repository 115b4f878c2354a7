"""What a program asserts of its numbers, which nothing checks once it is exported.

The partitioner may put it into another delegate than what the numbers are for. The exporter leaves
it out of what it writes there, and the delegate has inputs that nothing reads, which no runtime can
tell from others.
"""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

_ASSERTS = (
    torch.ops.aten._assert_scalar.default,
    torch.ops.aten.sym_constrain_range.default,
    torch.ops.aten.sym_constrain_range_for_size.default,
)


def drop_asserts(program: ExportedProgram) -> None:
    """Erase them, and the numbers that are for them alone."""
    numbers = (torch.SymBool, torch.SymInt)
    for node in reversed(program.graph.nodes):
        is_number = node.op == "call_function" and isinstance(node.meta.get("val"), numbers)
        if node.target in _ASSERTS or (is_number and not node.users):
            program.graph.erase_node(node)
