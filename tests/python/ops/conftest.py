"""Operator tests run validated, and say at the end what they cost in the library."""

from __future__ import annotations

import os
from typing import Any

# Error scopes around every submit: what the GPU refuses is an error of the call that did it.
os.environ.setdefault("ETWEBGPU_VALIDATE", "1")

from support.c_interface import COST


def pytest_terminal_summary(terminalreporter: Any) -> None:
    cost = COST
    if cost.runs:
        terminalreporter.write_line(
            f"delegates: {cost.loads} loads, {1e3 * cost.load_seconds / cost.loads:.1f} ms each; "
            f"{cost.runs} runs, {1e3 * cost.run_seconds / cost.runs:.2f} ms each"
        )
