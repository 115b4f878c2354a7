"""Kernel templates from a folder, for developers (ETWEBGPU_TEMPLATES): read once a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS

SOURCES = REPOSITORY / "src"

# sigmoid(x) of zeros, through the C interface.
RUN = """
import torch
from support.delegate import GraphBuilder
graph = GraphBuilder()
x = graph.input(torch.float32, (4,))
graph.output(graph.call("aten.sigmoid.default", x, out=(torch.float32, (4,))))
print(graph.load().run(torch.zeros(4))[0].tolist())
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ETWEBGPU_TEMPLATES": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=TESTS, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def template() -> str:
    (path,) = SOURCES.rglob("elementwise_math.wgsl")
    return path.read_text()


def test_a_template_of_the_folder_takes_the_embedded_ones_place(tmp_path: Path, template: str):
    changed = template.replace(
        "fn sigmoid(", "fn sigmoid(x: f32) -> f32 { return 7.0; }\nfn other("
    )
    (tmp_path / "elementwise_math.wgsl").write_text(changed)
    assert run(tmp_path).stdout.strip() == "[7.0, 7.0, 7.0, 7.0]"


def test_other_kernels_stay(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no template")
    assert run(tmp_path).stdout.strip() == "[0.5, 0.5, 0.5, 0.5]"


def test_what_is_wrong_with_a_template_is_said(tmp_path: Path, template: str):
    (tmp_path / "elementwise_math.wgsl").write_text("#if NONSENSE\n#endif\n" + template)
    errors = run(tmp_path).stderr
    assert "NONSENSE" in errors and "elementwise_math" in errors


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    assert str(tmp_path / "nowhere") in run(tmp_path / "nowhere").stderr
