"""For all Python tests. A missing native library is an error, never a skip."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")

from executorch_webgpu import native
from executorch_webgpu.decoders.export import Recipe, export
from executorch_webgpu.files import cached_smollm2
from support.case_files import Case, CaseWriter
from support.recorder import Recorder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record",
        type=Path,
        metavar="DIR",
        help="write what is compared with eager as cases into DIR (support/case_files.py)",
    )
    parser.addoption(
        "--record-most",
        type=float,
        metavar="MB",
        default=1.0,
        help="leave out cases that are larger (default: %(default)s)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep ETWEBGPU_TEST_SHARE of the tests, the same ones each time; all unless it is set."""
    share = float(os.environ.get("ETWEBGPU_TEST_SHARE", "1"))
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        (kept if zlib.crc32(item.nodeid.encode()) < share * 2**32 else dropped).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    folder: Path | None = config.getoption("--record")
    if folder:
        recorder = Recorder(folder, int(config.getoption("--record-most") * 1e6))
        config.pluginmanager.register(recorder)


@pytest.fixture(scope="session", autouse=True)
def library() -> native.Library:
    return native.library()


@pytest.fixture(scope="session")
def record_case(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Case], None]]:
    """Keeps a case whose blob is a whole program, with --record, among those of its kind."""
    folder: Path | None = request.config.getoption("--record")
    writers: dict[str, CaseWriter] = {}

    def write(kind: str, case: Case) -> None:
        if folder is not None:
            writers.setdefault(kind, CaseWriter(folder, kind)).write(case)

    yield write
    for writer in writers.values():
        writer.finish_pair()


# Exports are kept in the cache folder: made once per machine and state of the exporting code.


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2 as `executorch-webgpu chat` exports it."""
    path = cached_smollm2()
    if not path.is_file():
        export("smollm2", path)
    return path


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return Recipe(context=256, layers=2)


@pytest.fixture(scope="session")
def tiny(tiny_recipe: Recipe) -> Path:
    """Two layers of SmolLM2 with a short context."""
    path = cached_smollm2().parent / "tiny" / "tiny.pte"
    if not path.is_file():
        export("smollm2", path, tiny_recipe)
    return path
