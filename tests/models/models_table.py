"""docs/models.md: models by how they were exported, with their delegates, differences and times."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import executorch_webgpu
from support.networks import BATCHES, NETWORKS

HEAD = """# Models

Real classes with seeded weights, exported by the stock partitioner
(`to_edge_transform_and_lower` with `VulkanPartitioner`) and by
`executorch_webgpu.lowering.lower_program`, run by the stock runtime and compared with eager torch:
calls of delegates and of ExecuTorch's own kernels, the largest difference as a share of the largest
magnitude, and the milliseconds of a call (the median of {repetitions}; {devices}).
What is in 8 bits is compared with the graph that the exporter writes down, in eager with exact sums
of integers: it leaves out pairs of quantize and dequantize ([limits.md](limits.md)).
Times were taken while other work ran on the same two cores: they show an order of magnitude, and
compare nothing. docs/performance.md has GPUs.
Written by `./dev test-models --table docs/models.md`, which replaces the rows that it runs;
– was not run: stock programs for several images of networks whose convolutions ExecuTorch's own
kernels would compute, for minutes.

| model | batch | stock: calls | difference | ms | lowered: calls | difference | ms |
| --- | ---: | --- | ---: | ---: | --- | ---: | ---: |
"""

REPETITIONS = 5


@dataclass(frozen=True)
class Row:
    """A model exported in one way."""

    model: str
    batch: int
    how: str
    delegates: int
    host_calls: int
    difference: float
    milliseconds: float
    device: str

    def cells(self) -> str:
        """Three cells of the table."""
        calls = f"{self.delegates} + {self.host_calls}"
        difference = f"{self.difference:.0e}" if self.difference else "0"
        return f"{calls} | {difference} | {self.milliseconds:,.1f}"


def milliseconds(call: Callable[[], object]) -> float:
    """The median of some calls."""
    seconds = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def measured(
    name: str,
    batch: int,
    how: str,
    model: executorch_webgpu.Model,
    inputs: Sequence[Any],
    difference: float,
) -> Row:
    """A row of the table."""
    (forward,) = [m for m in model.outline["methods"] if m["name"] == "forward"]
    took = milliseconds(lambda: model.execute("forward", inputs))
    selected = executorch_webgpu.devices()["selected"] or {"name": "no adapter", "provider": ""}
    device = f"{selected['name']} through {selected['provider']}"
    calls = forward["delegate_calls"], forward["kernel_calls"]
    return Row(name, batch, how, *calls, difference, took, device)


class Table:
    """Rows of this run and of earlier ones, kept as data beside their text."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.data = target.parent / "results" / f"{target.stem}.json"
        kept = json.loads(self.data.read_text()) if self.data.exists() else []
        self.rows = {_key(row): row for row in (Row(**fields) for fields in kept)}

    def add(self, row: Row) -> None:
        """Takes the place of the same model's, exported in the same way; both files are written."""
        self.rows[_key(row)] = row
        self.data.write_text(json.dumps([asdict(r) for r in self.rows.values()], indent=1) + "\n")
        self.target.write_text(self.text())

    def text(self) -> str:
        """One line for each model and batch."""
        devices = " and ".join(dict.fromkeys(row.device for row in self.rows.values()))
        lines = []
        known = {(model, batch) for model in NETWORKS for batch in BATCHES}
        for model, batch in sorted(known | {(model, batch) for model, batch, _ in self.rows}):
            found = [self.rows.get((model, batch, how)) for how in ("stock", "lowered")]
            cells = " | ".join(row.cells() if row else "– | – | –" for row in found)
            lines.append(f"| {model} | {batch} | {cells} |")
        head = HEAD.format(repetitions=REPETITIONS, devices=devices)
        return head + "\n".join(lines) + "\n"


def _key(row: Row) -> tuple[str, int, str]:
    return row.model, row.batch, row.how
