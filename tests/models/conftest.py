"""Real models through both exporters; ``--table FILE`` writes what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from models_table import Row, write_table

os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")

ROWS: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, metavar="FILE", help="write docs/models.md")


@pytest.fixture
def note() -> Callable[[Row], None]:
    """Takes a row of the table."""
    return ROWS.append


def pytest_sessionfinish(session: pytest.Session) -> None:
    target: Path | None = session.config.getoption("--table")
    if target:
        write_table(ROWS, target)
