"""Time of one operator at given sizes: GPU time per kernel, GB/s and GFLOP/s.

    python benchmarks/kernel.py softmax                             # at its usual sizes
    python benchmarks/kernel.py linear4 --sizes 1x2048x8192,128x2048x8192
    python benchmarks/kernel.py add --sizes 128x4096+4096           # two tensors
    python benchmarks/kernel.py aten.leaky_relu.default --sizes 1024x1024 --args "[0.1]"
    python benchmarks/kernel.py attention --compare OTHER/libexecutorch_backend_webgpu.so

With --compare both libraries are measured by turns, each in processes of its own; the ratio of
their medians is above 1 where this one is faster. Where an adapter has no timestamps, the time is a
whole call's on the host. Provider, adapter and kernels come from the environment (CONTRIBUTING.md).
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import torch
import typer
from executorch_webgpu.native import LIBRARY_ENV, library_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from kernel_cases import CASES, Call, Case, Tensors, find_case
from kernel_times import Result, measure
from support.capi import ModelError

DTYPES = {"f32": torch.float32, "f16": torch.float16, "i32": torch.int32}

_TURNS = 3


def main(
    operator: Annotated[str, typer.Argument(help=f"{', '.join(CASES)}, or an operator's name.")],
    sizes: Annotated[str, typer.Option(help="AxBxC, tensors joined by +, calls by commas.")] = "",
    dtype: Annotated[Literal["f32", "f16", "i32"], typer.Option()] = "f32",
    args: Annotated[str, typer.Option(help="JSON list of what follows the tensors.")] = "",
    repetitions: Annotated[int, typer.Option(min=1)] = 50,
    warm: Annotated[float, typer.Option(help="Seconds; a GPU's clock takes some to rise.")] = 1.5,
    compare: Annotated[Path | None, typer.Option(help="Another build of the library.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all times here.")] = None,
) -> None:
    """Time one operator at each of the sizes."""
    case = find_case(operator)
    if compare:
        _compare(compare)
        return
    results = []
    for text in (sizes or case.sizes).split(","):
        call = Call(parse_sizes(case, text), DTYPES[dtype], parse_args(case, args))
        result = _measured(case, text, call, warm, repetitions)
        results.append(result)
        print("\n".join([f"{case.operator} {text} {dtype}", *result.lines()]), flush=True)
    if json_file:
        json_file.write_text(json.dumps([asdict(result) for result in results]))


def parse_sizes(case: Case, text: str) -> Tensors:
    """The tensors of "128x64+64", with as many numbers as the case's form has letters.

    Raises typer.BadParameter.
    """
    tensors = [part.split("x") for part in text.split("+")]
    form = f"sizes of {case.operator} are {case.form}, such as {case.sizes}"
    if not all(number.isdecimal() for sizes in tensors for number in sizes):
        raise typer.BadParameter(f"'{text}' is not written as sizes are; {form}")
    if len(tensors) > 1 and "+" not in case.form:
        raise typer.BadParameter(f"'{text}' has {len(tensors)} tensors; {form}")
    if "..." not in case.form and len(tensors[0]) != len(case.form.split("x")):
        raise typer.BadParameter(f"'{text}' has {len(tensors[0])} numbers; {form}")
    return [tuple(int(number) for number in sizes) for sizes in tensors]


def parse_args(case: Case, text: str) -> Sequence[object]:
    """What follows the tensors: of the option, or the usual. Raises typer.BadParameter."""
    try:
        args = json.loads(text) if text else case.args
    except ValueError as error:
        raise typer.BadParameter(f"--args is no JSON: {error}") from error
    if not isinstance(args, list | tuple):
        raise typer.BadParameter("--args is no JSON list, such as [0.1]")
    return args


def _measured(case: Case, sizes: str, call: Call, warm: float, repetitions: int) -> Result:
    os.environ["ETWEBGPU_PROFILING"] = "1"
    torch.manual_seed(0)
    try:
        return measure(case, sizes, call, warm, repetitions)
    except (ModelError, RuntimeError, IndexError, TypeError) as error:
        known = [*CASES, *(known.operator for known in CASES.values())]
        near = [] if case.operator in known else difflib.get_close_matches(case.operator, known)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise typer.BadParameter(f"{case.operator} at {sizes}: {error}{hint}") from error


def _compare(other: Path) -> None:
    """Measure this library and `other` by turns, and print both."""
    libraries = {"this": library_path(), "other": other}
    for name, path in libraries.items():
        if not path.is_file():
            raise typer.BadParameter(f"{name} library: there is no file {path}")
    found: dict[str, list[Result]] = {}
    for _ in range(_TURNS):
        for name, path in libraries.items():
            results = _in_a_process(path)
            for known, new in zip(found.setdefault(name, results), results, strict=True):
                if known is not new:
                    known.add(new)
    for ours, theirs in zip(*found.values(), strict=True):
        ratio = median(theirs.calls) / median(ours.calls)
        print(f"{ours.sizes}: this library is {ratio:.3f} times as fast as the other")
        for name, result in (("this", ours), ("other", theirs)):
            print("\n".join(f"{name:>8} {line}" for line in result.lines()))


def _in_a_process(path: Path) -> list[Result]:
    """What this command measures with the library at `path`."""
    command = sys.argv.copy()
    at = next(i for i, word in enumerate(command) if word.startswith("--compare"))
    del command[at : at + (1 if "=" in command[at] else 2)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        words = [sys.executable, *command, "--json", str(file)]
        environment = os.environ | {LIBRARY_ENV: str(path)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise typer.BadParameter(f"with {path}: {done.stderr.strip()}")
        return [Result(**result) for result in json.loads(file.read_text())]


if __name__ == "__main__":
    typer.run(main)
