"""One decode step of each build by turns: tells builds apart on a machine that others use, too.

    python benchmarks/decode_by_turns.py 135m.zip ../before=../before/build/lib.so .=build/lib.so

A build is the checkout whose Python it needs, and its library. Each has a process of its own, and
only one of them works at a time. The tenth percentile is the figure: others only ever make a step
longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

import numpy as np
import typer

_WARM_UPS = 20
_NEARBY = 8  # positions differ as they do in use


@dataclass
class Build:
    """A process that makes a step for each line it is sent, and answers with its seconds."""

    name: str
    process: subprocess.Popen[str]
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, build: str, skeleton: Path, position: int) -> Build:
        """Start the process of CHECKOUT=LIBRARY and wait until it is warm."""
        checkout, _, library = build.partition("=")
        environment = {
            **os.environ,
            "ETWEBGPU_LIBRARY": str(Path(library).resolve()),
            "PYTHONPATH": os.pathsep.join(
                str(Path(checkout, folder).resolve())
                for folder in ("python", "benchmarks", "tests/python")
            ),
        }
        command = [sys.executable, __file__, str(skeleton), "--steps-of-one", str(position)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        made = cls(build, process)
        made._answer()
        return made

    def step(self) -> None:
        """Make a step."""
        _pipe(self.process.stdin).write("step\n")
        _pipe(self.process.stdin).flush()
        wall, processor = self._answer()
        self.wall.append(wall)
        self.processor.append(processor)

    def row(self) -> str:
        """The figures in milliseconds."""
        figures = [
            1e3 * np.percentile(seconds, percent)
            for seconds in (self.wall, self.processor)
            for percent in (10, 50)
        ]
        return f"| {self.name} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |"

    def _answer(self) -> list[float]:
        line = _pipe(self.process.stdout).readline()
        if not line:
            raise typer.BadParameter(f"{self.name} ended with status {self.process.wait()}")
        return [float(word) for word in line.split()]


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def answer_steps(skeleton: Path, position: int) -> None:
    """Make a step for each line of the standard input, with what this process's paths import."""
    import torch
    from skeleton import Skeleton
    from support.capi import Model

    torch.set_num_threads(1)  # else its threads wait busily, and count as ours
    found = Skeleton.load(skeleton)
    model = Model(found.blob, found.made_up_weights(), found.output_bytes)

    def step(at: int) -> None:
        model.run(torch.tensor([[1]]), torch.tensor([at]))

    for _ in range(_WARM_UPS):
        step(position)
    print(0, 0, flush=True)
    for count, _ in enumerate(sys.stdin):
        wall, processor = time.perf_counter(), time.process_time()
        step(position + count % _NEARBY)
        print(time.perf_counter() - wall, time.process_time() - processor, flush=True)


def main(
    skeleton: Annotated[Path, typer.Argument(help="A skeleton of benchmarks/shapes.py.")],
    builds: Annotated[list[str] | None, typer.Argument(help="CHECKOUT=LIBRARY, each.")] = None,
    position: Annotated[int, typer.Option(min=0, help="Tokens in the cache.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Of each build.")] = 150,
    steps_of_one: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Time decode steps with the logits read back, of each build by turns."""
    if steps_of_one is not None:
        answer_steps(skeleton, steps_of_one)
        return
    started = [Build.start(build, skeleton, position) for build in builds or ()]
    for turn in range(steps):
        for build in started[:: 1 if turn % 2 else -1]:
            build.step()
    print("| build | ms, 10th percentile | median | processor ms, 10th percentile | median |")
    print("|---|---:|---:|---:|---:|")
    for build in started:
        print(build.row())


if __name__ == "__main__":
    typer.run(main)
