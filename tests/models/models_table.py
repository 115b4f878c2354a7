"""Models by how they were exported, with their delegates, differences and times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import executorch_webgpu

HEAD = """# Models

Real classes with seeded weights, exported by the stock partitioner
(`to_edge_transform_and_lower` with `VulkanPartitioner`) and by
`executorch_webgpu.lowering.lower_program`, run by the stock runtime and compared with eager torch:
calls of delegates and of ExecuTorch's own kernels, the largest difference as a share of the largest
magnitude, and the milliseconds of a call (the median of {repetitions}; {devices}).
What is in 8 bits is compared with the graph that the exporter writes down, in eager with exact sums
of integers: it leaves out pairs of quantize and dequantize ([limits.md](limits.md)).
Times are of two cores, of which other work of the lowest priority took what was left: programs of
one delegate each, which do the same, are up to a half apart. docs/performance.md has GPUs.
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

    @property
    def key(self) -> tuple[str, int, str]:
        return self.model, self.batch, self.how

    def cells(self) -> str:
        """Three cells of the table."""
        return measured_cells(self.delegates, self.host_calls, self.difference, self.milliseconds)


def measured_cells(delegates: int, host_calls: int, difference: float, took: float) -> str:
    """Calls, difference and milliseconds."""
    apart = f"{difference:.0e}" if difference else "0"
    return f"{delegates} + {host_calls} | {apart} | {took:,.1f}"


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
    calls = forward["delegate_calls"], forward["kernel_calls"]
    return Row(name, batch, how, *calls, difference, took, device_name())


def device_name() -> str:
    """The adapter that programs run on, and by whose WebGPU."""
    selected = executorch_webgpu.devices()["selected"] or {"name": "no adapter", "provider": ""}
    return f"{selected['name']} through {selected['provider']}"


def text(rows: Sequence[Row]) -> str:
    """One line for each model and batch."""
    devices = " and ".join(dict.fromkeys(row.device for row in rows))
    found = {row.key: row for row in rows}
    lines = []
    for model, batch in sorted({(row.model, row.batch) for row in rows}):
        both = [found.get((model, batch, how)) for how in ("stock", "lowered")]
        cells = " | ".join(row.cells() if row else "– | – | –" for row in both)
        lines.append(f"| {model} | {batch} | {cells} |")
    return HEAD.format(repetitions=REPETITIONS, devices=devices) + "\n".join(lines) + "\n"
