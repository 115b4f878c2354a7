"""A table's row of a program that was exported in one of several ways, or of why it was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executorch_webgpu import Model
from models_table import REPETITIONS, device_name, measured_cells, milliseconds


@dataclass(frozen=True, kw_only=True)
class ProgramRow:
    """What came of it; its kinds say how it was exported.

    Attributes:
        outside: operators left to ExecuTorch's kernels, or why there is no program.
    """

    outside: str
    delegates: int = 0
    host_calls: int = 0
    difference: float = 0
    milliseconds: float = 0
    device: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """How it was exported, in the order of the table's columns."""
        raise NotImplementedError

    def line(self) -> str:
        """The row of the table."""
        figures = "– | – | –"
        if self.device:
            counts = self.delegates, self.host_calls
            figures = measured_cells(*counts, self.difference, self.milliseconds)
        return f"| {' | '.join(self.key)} | {figures} | {self.outside} |"


def table(head: str, rows: Sequence[ProgramRow]) -> str:
    """Rows under `head`, which has places for `repetitions` and `devices`; nothing without rows."""
    devices = " and ".join(dict.fromkeys(row.device for row in rows if row.device))
    lines = [row.line() for row in sorted(rows, key=lambda row: row.key)]
    named = head.format(repetitions=REPETITIONS, devices=devices)
    return named + "\n".join(lines) + "\n" if rows else ""


def measured(program: Model, difference: float, call: Callable[[], object]) -> dict[str, Any]:
    """A row's fields, of a program that was run.

    Args:
        call: a token more, a whole text, an image.
    """
    methods = [m for m in program.outline["methods"] if m["inputs"]]
    return {
        "outside": ", ".join(_names_outside(methods)) or "nothing",
        "delegates": sum(method["delegate_calls"] for method in methods),
        "host_calls": sum(method["kernel_calls"] for method in methods),
        "difference": difference,
        "milliseconds": milliseconds(call),
        "device": device_name(),
    }


def refused(error: BaseException) -> dict[str, Any]:
    """A row's fields, of what could not be exported, or not run."""
    (line, *_) = str(error).splitlines()
    return {"outside": f"{type(error).__name__}: {line}".replace("|", "\\|")}


def _names_outside(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    names = {kernel["name"] for method in methods for kernel in method["host_kernels"]}
    return sorted(f"`{name}`" for name in names)
