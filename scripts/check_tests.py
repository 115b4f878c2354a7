"""Checks that no test imports a test, in C++ or Python: what tests share is in `support`."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDED_TEST = re.compile(r'^\s*#include "(\S*_test\.(?:h|cpp))"', re.MULTILINE)


def imported(text: str) -> Iterator[str]:
    """Every part of a module's imports: `from a.b import c` gives a, b and c."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield from alias.name.split(".")


def imported_tests() -> list[str]:
    """A line for each."""
    python = sorted((ROOT / "tests").rglob("*.py"))
    tests = {path.stem for path in python if path.name.startswith("test_")}
    found = [(path, name) for path in python for name in set(imported(path.read_text())) & tests]
    for path in sorted((ROOT / "tests").rglob("*.[ch]*")):
        if path.suffix in (".h", ".cpp"):
            found += [(path, name) for name in INCLUDED_TEST.findall(path.read_text())]
    return [f"{path.relative_to(ROOT)}: imports the test {name}" for path, name in found]


if __name__ == "__main__":
    problems = imported_tests()
    print("\n".join(problems) or "tests: none imports another")
    sys.exit(1 if problems else 0)
