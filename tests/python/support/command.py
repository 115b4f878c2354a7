"""The command, and what it says of an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def command(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user would run it."""
    return subprocess.run(
        [sys.executable, "-m", "executorch_webgpu", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


def assert_one_sentence(result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    *told, refusal = lines  # what a language model takes is told before it is loaded
    assert len(told) <= 1 and all(" of GPU memory: " in line for line in told), result.stderr
    assert refusal.startswith("error: "), result.stderr
    for part in parts:
        assert part in refusal
