"""Real models through both exporters; ``--table FILE`` writes what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tables import Document, Row

os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, metavar="FILE", help="write docs/models.md")


@pytest.fixture(scope="session")
def note(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Takes a row of a table."""
    target: Path | None = request.config.getoption("--table")
    return Document(target).add if target else lambda _: None
