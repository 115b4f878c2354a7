"""The command ``check``: what it says of programs that run and of those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch_webgpu import check
from executorch_webgpu.check import Memory
from executorch_webgpu.cli import app
from executorch_webgpu.lowering import lower_program, quiet_upstream
from support.options import option
from support.program import save
from typer.testing import CliRunner

runner = CliRunner()


class Rows(torch.nn.Module):
    """Two operators, with a weight of 2 KB, over up to 64 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(torch.sin(x) @ self.weight)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    length = torch.export.Dim("rows", min=1, max=64)
    folder = tmp_path_factory.mktemp("check")
    return save(folder, "rows", Rows(), (torch.ones(8, 32),), dynamic_shapes=({0: length},)).pte


class Counting(torch.nn.Module):
    """With a language model's inputs, a state as long as its context, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(50, 32)
        self.register_buffer("seen", torch.zeros(CONTEXT, 32))

    def forward(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        self.seen.add_(self.table(tokens)[0])
        return self.seen.sum(0, keepdim=True) + position.float()


CONTEXT = 16


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = (torch.tensor([[1]]), torch.tensor([0]))
    path = tmp_path_factory.mktemp("check") / "counting.pte"
    with quiet_upstream(), torch.no_grad():
        graph = torch.export.export(Counting(), inputs)
        program = lower_program(graph, constants={"get_max_context_len": CONTEXT})
    path.write_bytes(program.buffer)
    return path


@pytest.fixture
def unknown(rows: Path, tmp_path: Path) -> Path:
    """The same with an operator that nobody knows."""
    path = tmp_path / "unknown.pte"
    data = rows.read_bytes()
    assert b"aten.sin.default" in data
    path.write_bytes(data.replace(b"aten.sin.default", b"aten.sim.default"))
    return path


def found(path: Path) -> tuple[int, dict[str, Any]]:
    result = runner.invoke(app, ["check", str(path), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_program_that_runs(rows: Path) -> None:
    status, said = found(rows)
    assert (status, said["runs"], said["problems"], said["missing"]) == (0, True, [], [])
    assert said["methods"] == ["forward"]
    assert said["operators"]["aten.sin.default"] == 2
    memory = said["memory"]
    assert memory["constants"] >= 32 * 16 * 4
    assert memory["total"] == sum(memory[part] for part in ("constants", "states", "activations"))
    text = runner.invoke(app, ["check", str(rows)]).stdout
    assert f"{rows} runs on " in text
    assert "of GPU memory" in text


def test_states_and_what_they_are_kept_in(counting: Path) -> None:
    _, said = found(counting)
    memory = said["memory"]
    assert (memory["states"], memory["state_types"]) == (CONTEXT * 32 * 4, ["f32"])
    assert memory["context"] == CONTEXT
    assert memory["staging"] > 0


@pytest.mark.parametrize("command", ["chat", "bench", "run"])
def test_a_language_models_memory_is_told_before_it_is_taken(command: str, counting: Path) -> None:
    with option("memory_limit", "4000"):
        result = runner.invoke(app, [command, str(counting)])
    told, refusal = result.stderr.splitlines()
    states = "2.05 KB for states (16 tokens, f32)"
    assert told.startswith("counting.pte takes ") and states in told
    assert refusal.startswith("error: ")
    assert "a shorter context less; its embedding has 6400 bytes, and 1000 in 4 bits" in refusal


def test_other_programs_are_run_without_a_word(rows: Path, tmp_path: Path) -> None:
    array = tmp_path / "x.npy"
    np.save(array, np.ones((8, 32), np.float32))
    result = runner.invoke(app, ["run", str(rows), "--input", str(array)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_operators_that_are_missing(unknown: Path) -> None:
    status, said = found(unknown)
    assert (status, said["runs"]) == (1, False)
    missing = {"method": "forward", "operator": "aten.sim.default", "calls": 2}
    assert said["missing"] == [missing]
    assert said["problems"] == [
        "method 'forward': operators that are not supported: aten.sim.default (calls 0, 2); export "
        "it again with aten.sim.default in the partitioner's operator_blocklist, which leaves them "
        "to ExecuTorch"
    ]
    result = runner.invoke(app, ["check", str(unknown)])
    assert result.exit_code == 1
    assert f"{unknown} does not run on " in result.stdout


def test_kernels_that_are_not_there(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "obstacles", lambda _: ["'forward' needs a kernel of yours"])
    assert not check.check(rows).runs
    assert "'forward' needs a kernel of yours." in check.check(rows).sentences()


LIMITS = {
    "max_buffer_size": 1000,
    "max_storage_binding": 500,
    "max_workgroups_per_dimension": 10,
}


@pytest.mark.parametrize(
    ("slots", "binding", "grid", "sentence"),
    [
        ([1000, 400], 500, [10, 1, 1], None),
        ([1004, 400], 500, [10, 1, 1], "needs a buffer of 1 KB, but the adapter has at most 1 KB"),
        ([9e9], 500, [1, 1, 1], "needs a buffer of 9 GB, but the adapter has at most 1 KB"),
        ([600], 600, [1, 1, 1], "needs a binding of 600 bytes, but the adapter has at most 500"),
        ([600], 4, [1, 11, 1], "dispatches 11 workgroups in a dimension, but the adapter takes at"),
    ],
)
def test_limits(slots: list[int], binding: int, grid: list[int], sentence: str | None) -> None:
    dispatch = {"bindings": [{"size": binding}], "grid": grid}
    plan = {"for": "the largest inputs", "slots": slots, "dispatches": [dispatch]}
    others = {**plan, "for": "one token", "slots": [1 << 40]}
    passed = [*check._passed_limits({"name": "forward"}, {"plans": [others, plan]}, LIMITS)]
    assert len(passed) == (sentence is not None)
    assert sentence is None or sentence in passed[0]


def test_sizes_are_sums() -> None:
    assert Memory(1, 2, 3).total == 6
