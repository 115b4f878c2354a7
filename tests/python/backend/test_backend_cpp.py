"""The backend from C++: examples/cpp and tests/cpp/executorch, built as a user's projects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from executorch_webgpu.cmake import prefix_path
from executorch_webgpu.providers import find_wgpu_native
from support.paths import REPOSITORY
from support.program import save
from torch import nn


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.tensor([1.0, 2.0, 4.0]))

    def forward(self, a, b):
        return a * self.factors + b


class TwiceWeighted(Weighted):
    """The same with two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("halves", torch.tensor([0.5, 0.5, 0.5]))

    def forward(self, a, b):
        return (a + a) * self.factors * self.halves + b


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """A folder of weighted.pte, of external.pte and its .ptd, and of split.pte, whose two .ptd
    files are in split.data."""
    folder = tmp_path_factory.mktemp("programs")
    inputs = (torch.ones(2, 3), torch.ones(2, 3))
    save(folder, "weighted", Weighted(), inputs)
    options = {"external_constants_max_data_bytes": 1 << 30}
    save(folder, "external", Weighted(), inputs, options=options)
    options = {"external_constants_max_data_bytes": 12}
    assert len(save(folder, "split", TwiceWeighted(), inputs, options=options).ptds) == 2
    return folder


@pytest.fixture(scope="module")
def program(programs) -> Path:
    return programs / "weighted.pte"


@pytest.fixture(scope="module")
def prefix(library, tmp_path_factory) -> str:
    """CMAKE_PREFIX_PATH; for a library outside the package, a folder laid out like the package."""
    if any((Path(p) / "lib" / library.path.name) == library.path for p in prefix_path().split(";")):
        return prefix_path()
    site = tmp_path_factory.mktemp("site")
    package = site / "executorch_webgpu"
    config = package / "lib" / "cmake" / "executorch_webgpu"
    config.mkdir(parents=True)
    (config / "executorch_webgpu-config.cmake").symlink_to(
        REPOSITORY / "cmake" / "executorch_webgpu-config.cmake"
    )
    (package / "lib" / library.path.name).symlink_to(library.path)
    (package / "include").symlink_to(REPOSITORY / "include")
    provider = find_wgpu_native()
    assert provider is not None
    (site / "wgpu").symlink_to(provider.path.parents[1])
    return f"{prefix_path()};{package}"


def build(project: Path, prefix: str, folder: Path) -> Path:
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    for step in (
        ["cmake", "-S", project, "-B", folder, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["cmake", "--build", folder],
    ):
        done = subprocess.run(step, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout, done.stdout
    return folder


@pytest.fixture(scope="module")
def run(prefix, tmp_path_factory) -> Path:
    return build(REPOSITORY / "examples" / "cpp", prefix, tmp_path_factory.mktemp("run")) / "run"


def execute(binary: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "ETWEBGPU_PROVIDER"}
    return subprocess.run(
        [binary, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**clean, **environment},
    )


def test_module_runs_on_wgpu_native(run, program):
    done = execute(run, str(program), "3", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2, 3] 3.5 6.5 12.5 3.5 6.5 12.5\n"


def test_provider_by_path_in_the_environment(run, program):
    provider = find_wgpu_native()
    assert provider is not None
    done = execute(run, str(program), ETWEBGPU_PROVIDER=str(provider.path))
    assert done.stdout == "[2, 3] 2 3 5 2 3 5\n", done.stderr


def test_provider_beside_the_package_is_found(run, program):
    done = execute(run, str(program), ETWEBGPU_PROVIDER="wgpu-native")
    assert done.stdout == "[2, 3] 2 3 5 2 3 5\n", done.stderr


def test_missing_provider_is_one_clear_sentence(run, program):
    done = execute(run, str(program), ETWEBGPU_PROVIDER="/nowhere/libwebgpu.so")
    assert done.returncode == 1
    assert "/nowhere/libwebgpu.so" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("load: ")


def test_no_adapter_is_one_clear_sentence(run, program):
    done = execute(run, str(program), VK_ICD_FILENAMES="/nowhere/icd.json")
    assert done.returncode == 1
    assert "no WebGPU adapter" in done.stderr.splitlines()[-1]


def test_cpp_host(prefix, programs, tmp_path):
    """Registration, options and their order, load modes, errors, ETDump and threads, in C++."""
    folder = build(REPOSITORY / "tests" / "cpp" / "executorch", prefix, tmp_path)
    done = execute(folder / "host_tests", ETWEBGPU_TEST_PROGRAMS=str(programs))
    assert done.returncode == 0, done.stdout + done.stderr
