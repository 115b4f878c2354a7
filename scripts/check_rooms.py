"""Checks the table of rooms in docs/architecture.md against the sources' includes.

A room may include itself, those the table names and what these may include. And no kernel template
names an operator of the format: kernels know arithmetic, src/ops knows operators.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| `src/(\w+)` \| .* \| (.*) \|$", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#include "(?:\.\./)*(\w+)/', re.MULTILINE)
OPERATOR = re.compile(
    r"\b(?:aten|et_vk|fused|llama|torchao|quantized_decomposed|dim_order_ops)(?:\.|::)\w+"
)


def rooms() -> dict[str, set[str]]:
    """By room: those that it may include, directly or through others."""
    table = ROW.findall((ROOT / "docs/architecture.md").read_text())
    direct = {room: set(re.findall(r"\w+", allowed)) for room, allowed in table}

    def reachable(room: str) -> set[str]:
        below = direct.get(room, set())
        return below.union(*(reachable(r) for r in below))

    return {room: {room} | reachable(room) for room in direct}


def wrong_includes() -> list[str]:
    """A line for each include that the table does not allow, and for each room it does not have."""
    allowed = rooms()
    lines = []
    for path in sorted((ROOT / "src").glob("*/**/*")):
        if path.suffix not in (".h", ".cpp"):
            continue
        room = path.relative_to(ROOT / "src").parts[0]
        if room not in allowed:
            lines.append(f"{path.relative_to(ROOT)}: the table has no room {room}")
            continue
        for included in INCLUDE.findall(path.read_text()):
            if included in allowed and included not in allowed[room]:
                lines.append(f"{path.relative_to(ROOT)}: {room} may not include {included}")
    return lines


def named_operators() -> list[str]:
    """A line for each operator that a kernel template names."""
    return [
        f"{path.relative_to(ROOT)}: names the operator {name}"
        for path in sorted((ROOT / "src").rglob("*.wgsl"))
        for name in OPERATOR.findall(path.read_text())
    ]


if __name__ == "__main__":
    problems = wrong_includes() + named_operators()
    print("\n".join(problems) or "rooms: as docs/architecture.md has them")
    sys.exit(1 if problems else 0)
