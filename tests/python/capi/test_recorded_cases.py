"""Cases that tests record are replayed where there is neither torch nor pytest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.case_files import Case, read_case, read_indices
from support.cases import F32, TIGHT, check_outputs
from support.delegate import GraphBuilder
from support.paths import REPOSITORY, TESTS
from support.recorder import Recorder

# Live numbers, errors and several dtypes; signs of zeros; alternatives, options and a state.
RECORDED = (
    "rows/test_topk.py",
    "test_edge_values.py::test_rounding_is_to_even",
    "attention/test_edge_values.py::test_what_a_cache_in_f16_keeps",
)


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    tests = [TESTS / "ops" / name for name in RECORDED]
    done = run("-m", "pytest", *tests, "--record", folder, ETWEBGPU_TEST_SCALE="0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    for name in ("torch", "pytest"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('there is no {name}')")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    return lambda *arguments: run(TESTS / "replay_cases.py", *arguments, PYTHONPATH=path)


def test_they_agree(recorded: Path, replay: Any) -> None:
    done = replay(recorded)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.search(r"(\d+) cases, (\d+) calls: all agree$", done.stdout.strip())
    assert counts, done.stdout
    (index,) = recorded.glob("cases-*.json")
    cases = json.loads(index.read_text())["cases"]
    assert [int(c) for c in counts.groups()] == [len(cases), sum(len(c["calls"]) for c in cases)]
    assert {name for name in RECORDED if any(name in case["name"] for case in cases)} == {*RECORDED}


def test_a_part_is_chosen_by_name(recorded: Path, replay: Any) -> None:
    assert "\n2 cases, " in replay(recorded, "--only", "test_topk_of_what_is_no_number").stdout
    none = replay(recorded, "--only", "no such case")
    assert none.returncode == 1 and "no case in" in none.stdout


def another_element(case: dict[str, Any], binary: bytearray) -> str:
    output = case["calls"][-1]["outputs"][0]
    offset, size = output["alternatives"][0]
    output["alternatives"] = [[len(binary), size]]
    binary += binary[offset : offset + size - 4] + b"\0\0\x28\x42"  # 42.0
    return "call 0, output 0 (12,): 1 of 12 elements differ, first at (11,): got"


def other_sizes(case: dict[str, Any], binary: bytearray) -> str:
    case["calls"][0]["outputs"][0]["sizes"] = [3, 4]
    return "call 0, output 0 (12,) != (3, 4)"


def another_error(case: dict[str, Any], binary: bytearray) -> str:
    case["calls"][0]["error"] = "this is no good"
    return "call 0, got no error, expected 'this is no good'"


def an_error_at_load(case: dict[str, Any], binary: bytearray) -> str:
    case["error"] = "this is no good"
    return "load: got no error, expected 'this is no good'"


def another_blob(case: dict[str, Any], binary: bytearray) -> str:
    case["blob"][1] -= 8
    return "load: got the error '"


@pytest.mark.parametrize(
    "change", [another_element, other_sizes, another_error, an_error_at_load, another_blob]
)
def test_what_disagrees_is_named(
    recorded: Path,
    replay: Any,
    tmp_path: Path,
    change: Callable[[dict[str, Any], bytearray], str],
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(recorded, folder)
    (path,) = folder.glob("cases-*.json")
    index = json.loads(path.read_text())
    binary = bytearray(path.with_suffix(".bin").read_bytes())
    name = "test_topk_of_what_is_no_number[True]"
    case = next(c for c in index["cases"] if c["name"].endswith(name))
    said = change(case, binary)
    path.write_text(json.dumps(index))
    path.with_suffix(".bin").write_bytes(binary)
    done = replay(folder, "--only", "test_topk_of_what")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{case['name']}: {said}" in done.stdout
    assert "2 cases, 2 calls: 1 disagree" in done.stdout


# --- What is recorded ----------------------------------------------------------------------------


def a_test(size: int) -> None:
    """Its tensors change once they are compared, as states do; the first call is not compared."""
    g = GraphBuilder()
    g.output(g.call("aten.neg.default", g.input(F32, (size,)), out=(F32, (size,))))
    with g.load() as model:
        x = torch.ones(size)
        model.run(x)
        x += torch.arange(size)
        expected = -x
        check_outputs(model.run(x), [expected], TIGHT)
        model.run(x)
        for tensor in (x, expected):
            tensor.zero_()


def cases_in(folder: Path) -> list[Case]:
    indices = read_indices(folder)
    return [read_case(case, path.read_bytes()) for path, cases in indices for case in cases]


def test_calls_up_to_the_last_that_is_compared(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 1000)
    for size in (2, 1000):  # the second is too large
        a_test(size)
        recorder.pytest_runtest_logfinish(f"of {size}")
    recorder.pytest_sessionfinish()
    a_test(3)
    (case,) = cases_in(tmp_path)
    first, second = case.calls
    assert case.name == "of 2" and case.error is None
    assert [call.inputs[0].tolist() for call in case.calls] == [[1, 1], [1, 2]]
    assert first.outputs == [None]
    (expected,) = second.outputs
    assert expected is not None and expected.tolerance == TIGHT
    assert [a.tolist() for a in expected.alternatives] == [[-1, -2]]
