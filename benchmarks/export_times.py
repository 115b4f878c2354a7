"""What an export takes of processor time, beside one in which upstream is not sped up.

    python benchmarks/export_times.py smollm2

Both are of one run and one commit, one after the other, without calibration; whether they gave the
same bytes is said, too.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def main(
    source: Annotated[str, typer.Argument(help="A GGUF file, a folder, or smollm2.")],
    layers: Annotated[int | None, typer.Option(help="Only the first layers.")] = None,
    only: Annotated[str | None, typer.Option(help="quick or stock, in this process.")] = None,
) -> None:
    """Compare the export with the stock one."""
    if only is not None:
        print(json.dumps(_export(source, layers, stock=only == "stock")))
        return
    rows = {kind: _elsewhere(kind) for kind in ("quick", "stock")}
    print(f"{'seconds':28}{'quick':>8}{'stock':>8}")
    for name in rows["quick"]["seconds"]:
        quick, stock = (row["seconds"][name] for row in rows.values())
        print(f"{name:28}{quick:8.1f}{stock:8.1f}")
    same = rows["quick"]["bytes"] == rows["stock"]["bytes"]
    print("the same bytes" if same else "OTHER BYTES")


def _elsewhere(kind: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, *sys.argv, "--only", kind]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    row: dict[str, dict[str, float]] = json.loads(out.splitlines()[-1])
    return row


def _export(source: str, layers: int | None, stock: bool) -> dict[str, object]:
    from executorch_webgpu.decoders import lower
    from executorch_webgpu.decoders.export import Recipe, export
    from executorch_webgpu.lowering import program

    if stock:
        for module in (lower, program):
            module.quick_upstream = lambda walked=None: nullcontext()  # type: ignore[attr-defined]
    marks = [("Importing torch", 0.0)]

    def report(stage: str, done: int, total: int) -> None:
        if stage != marks[-1][0]:
            marks.append((stage, time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pte")
        export(source, path, Recipe(calibrate=False, layers=layers), report)
        end = time.process_time()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ends = [*(start for _, start in marks[1:]), end]
    seconds = {name: stop - start for (name, start), stop in zip(marks, ends, strict=True)}
    return {"seconds": {**seconds, "all": end}, "bytes": digest}


if __name__ == "__main__":
    typer.run(main)
