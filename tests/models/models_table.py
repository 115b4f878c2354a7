"""docs/models.md: models by how they were exported, with their delegates, differences and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import executorch_webgpu

HEAD = """# Models

Real classes with seeded weights, exported by the stock partitioner
(`to_edge_transform_and_lower` with `VulkanPartitioner`) and by
`executorch_webgpu.lowering.lower_program`, run by the stock runtime and compared with eager torch:
calls of delegates and of ExecuTorch's own kernels, the largest difference as a share of the largest
magnitude, and the milliseconds of a call (the median of {repetitions}; {device}).
Written by `./dev test-models --table docs/models.md`.

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

    def cells(self) -> str:
        """Three cells of the table."""
        calls = f"{self.delegates} + {self.host_calls}"
        return f"{calls} | {self.difference:.0e} | {self.milliseconds:,.1f}"


def write_table(rows: Sequence[Row], target: Path) -> None:
    """One line for each model and batch."""
    selected = executorch_webgpu.devices()["selected"] or {"name": "no adapter", "provider": ""}
    device = f"{selected['name']} through {selected['provider']}"
    lines = []
    for model, batch in dict.fromkeys((row.model, row.batch) for row in rows):
        found = {row.how: row for row in rows if (row.model, row.batch) == (model, batch)}
        cells = (
            found[how].cells() if how in found else "– | – | –" for how in ("stock", "lowered")
        )
        lines.append(f"| {model} | {batch} | {' | '.join(cells)} |")
    head = HEAD.format(repetitions=REPETITIONS, device=device)
    target.write_text(head + "\n".join(lines) + "\n")
