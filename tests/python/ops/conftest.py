"""What the operator tests cost in the library, at the end of a run."""

from __future__ import annotations

from typing import Any

from support import capi


def pytest_terminal_summary(terminalreporter: Any) -> None:
    cost = capi.COST
    if cost.runs:
        terminalreporter.write_line(
            f"delegates: {cost.loads} loads, {1e3 * cost.load_seconds / cost.loads:.1f} ms each; "
            f"{cost.runs} runs, {1e3 * cost.run_seconds / cost.runs:.2f} ms each"
        )
