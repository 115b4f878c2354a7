"""Replays recorded cases (support/case_files.py) on this machine's adapter. PyTorch is not needed.

    pytest tests/python/ops --record DIR                 # where there is PyTorch
    python tests/python/replay_cases.py DIR              # on any other machine

Adapter and kernels come from the environment (CONTRIBUTING.md). The exit status is 0 if all agree.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# As for the tests in ops: error scopes around every submit.
os.environ.setdefault("ETWEBGPU_VALIDATE", "1")

from executorch_webgpu.native import library
from support.adapter import has_matrices
from support.c_interface import ArrayModel, ModelError
from support.case_files import Call, Case, read_case, read_indices
from support.options import option


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--provider", choices=["dawn", "wgpu-native"])
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="of the cases' names")
    arguments = parser.parse_args()
    if arguments.provider:
        library().set_option("provider", arguments.provider)
    adapter = library().devices()["selected"]
    if adapter is None:
        parser.exit(2, "error: there is no adapter that the environment allows\n")
    print(f"{adapter['name']} ({adapter['type']}) through {adapter['provider']}", flush=True)
    return replay(arguments.folder, arguments.only)


def replay(folder: Path, only: str) -> int:
    """Print what disagrees, and counts; the exit status."""
    matrices = has_matrices()
    cases = calls = foreign = 0
    wrong: set[str] = set()
    for path, written in read_indices(folder):
        binary = path.read_bytes()
        for case in (read_case(w, binary) for w in written if only in w["name"]):
            if case.options.get("matmul_dtype") == "f16" and case.matrices != matrices:
                foreign += 1
                continue
            progress(f"{cases} {case.name}")
            for disagreement in disagreements(case):
                progress("")
                print(f"{case.name}: {disagreement}", flush=True)
                wrong.add(case.name)
            cases += 1
            calls += len(case.calls)
    progress("")
    if foreign:
        units = "f32, and this adapter has" if matrices else "f16 of an adapter with"
        print(f"{foreign} cases left out: they expect products in {units} matrix units")
    if not cases:
        print(f"no case in {folder} was replayed")
        return 1
    print(f"{cases} cases, {calls} calls:", f"{len(wrong)} disagree" if wrong else "all agree")
    return 1 if wrong else 0


def disagreements(case: Case) -> Iterator[str]:
    with ExitStack() as stack:
        for key, value in case.options.items():
            stack.enter_context(option(key, value))
        try:
            model = stack.enter_context(ArrayModel(case.blob, case.data, case.capacities))
        except ModelError as error:
            if str(error) != case.error:
                yield f"load: got the error '{error}', expected {_quoted(case.error)}"
            return
        if case.error is not None:
            yield f"load: got no error, expected {_quoted(case.error)}"
        for number, call in enumerate(case.calls):
            for difference in differences(model, call):
                yield f"call {number}, {difference}"


def differences(model: ArrayModel, call: Call) -> Iterator[str]:
    try:
        outputs = model.execute(call.inputs)
    except ModelError as error:
        if str(error) != call.error:
            yield f"got the error '{error}', expected {_quoted(call.error)}"
        return
    if call.error is not None:
        yield f"got no error, expected {_quoted(call.error)}"
    for index, (got, expected) in enumerate(zip(outputs, call.outputs, strict=False)):
        difference = expected and expected.difference(got)
        if difference:
            yield f"output {index} {difference}"


def _quoted(sentence: str | None) -> str:
    return "none" if sentence is None else f"'{sentence}'"


def progress(text: str) -> None:
    """On a terminal, the line that stands until the next."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
