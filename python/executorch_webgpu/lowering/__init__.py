"""From torch.export's programs to an ExecuTorch program whose delegates are right.

The stock exporter writes some programs down wrongly: outputs that are one, constants that are parts
of larger tensors, states whose new contents get lost, integers that do not fit. What comes through
here is rewritten so that it computes what eager PyTorch does, or refused with one sentence::

    graph = torch.export.export(model, inputs)
    lower_program(graph).save("model.pte")
    lower_program({"prefill": prefill, "decode": decode}).save("decoder.pte")

``docs/limits.md`` tells which programs those are, and what is done with each.
"""

from __future__ import annotations

from .program import LoweringError, lower_program, partition, plan_memory, quiet_upstream
from .quick import quick_upstream
from .spend import spending

__all__ = [
    "LoweringError",
    "lower_program",
    "partition",
    "plan_memory",
    "quick_upstream",
    "quiet_upstream",
    "spending",
]
