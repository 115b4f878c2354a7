"""Writes docs/operators.md: what recorded cases say of each operator (support/case_files.py).

pytest tests/python/ops --record DIR
python tests/python/operators_table.py DIR docs/operators.md
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executorch.backends.vulkan.serialization import vulkan_graph_schema as schema
from support.case_files import Case, read_case, read_indices
from support.export import decode_graph
from support.registry import registered_names

HEAD = """# Operators

Every operator that the Vulkan/WebGPU partitioner of executorch 1.5.1 can delegate, and those that
only newer exporters write, with what the tests compare with eager PyTorch: types and ranks of the
tensors of its calls, how many delegates have it, how many of these are called with several sizes
(dynamic), and the files of these tests in `tests/python`. What is exact, what is approximate and
what is refused stands in [limits.md](limits.md).

Made of recorded cases by `tests/python/operators_table.py`. A share of the random cases is enough
for it (0.15 here): a whole run compares more.

A whole run's cases (4,325 of at most 1 MB each, 19,324 calls, recorded at b614c37) were replayed on
an H200 (driver 580.159.04) through Dawn (wgpudawn 0.32.0.4) and wgpu-native (wgpu 0.32.0), and on
SwiftShader (Chromium's, through Dawn): all agree.

| operator | types | ranks | delegates | dynamic | tested in |
| --- | --- | --- | ---: | --- | --- |
"""


@dataclass
class Seen:
    """What cases show of an operator."""

    types: set[str] = field(default_factory=set)
    ranks: set[int] = field(default_factory=set)
    delegates: int = 0
    dynamic: int = 0
    files: set[str] = field(default_factory=set)

    def to_markdown(self, name: str) -> str:
        """A line of the table."""
        types = ", ".join(sorted(self.types)) or "–"
        ranks = _ranges(sorted(self.ranks)) or "–"
        dynamic = str(self.dynamic) if self.dynamic else "–"
        files = ", ".join(f"`{file}`" for file in sorted(self.files)) or "–"
        return f"| `{name}` | {types} | {ranks} | {self.delegates} | {dynamic} | {files} |"


def _ranges(ranks: list[int]) -> str:
    """[0, 1, 2, 4] as "0–2, 4"."""
    parts: list[list[int]] = []
    for rank in ranks:
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def compared(folder: Path) -> Iterator[Case]:
    """Cases whose calls were compared with eager."""
    for path, written in read_indices(folder):
        binary = path.read_bytes()
        for one in written:
            case = read_case(one, binary)
            if any(any(call.outputs) for call in case.calls):
                yield case


def is_dynamic(case: Case) -> bool:
    """Whether its calls have inputs of several sizes."""
    return len({str([getattr(i, "shape", i) for i in call.inputs]) for call in case.calls}) > 1


def tensors_of(arguments: list[int], values: Mapping[int, Any]) -> Iterator[Any]:
    """Those among a call's values, in lists too."""
    for at in arguments:
        value = values[at].value
        if isinstance(value, schema.VkTensor):
            yield value
        elif isinstance(value, schema.ValueList):
            yield from tensors_of(value.items, values)


def look(case: Case) -> dict[str, tuple[set[str], set[int]]]:
    """Types and ranks by operator."""
    graph = decode_graph(case.blob)
    values = dict(enumerate(graph.values))
    found: dict[str, tuple[set[str], set[int]]] = defaultdict(lambda: (set(), set()))
    for call in graph.chain:
        types, ranks = found[call.name]
        for tensor in tensors_of(call.args, values):
            types.add(tensor.datatype.name.lower())
            ranks.add(len(tensor.dims))
    return found


def table(folder: Path) -> dict[str, Seen]:
    """By operator, in the order of their names."""
    seen: dict[str, Seen] = {name: Seen() for name in registered_names()}
    cases = list(compared(folder))
    with ThreadPoolExecutor() as pool:  # each graph is read by a process of flatc
        for case, found in zip(cases, pool.map(look, cases), strict=True):
            for name, (types, ranks) in found.items():
                one = seen.setdefault(name, Seen())
                one.types |= types
                one.ranks |= ranks
                one.delegates += 1
                one.dynamic += is_dynamic(case)
                one.files.add(case.name.split("::")[0].removeprefix("tests/python/"))
    return dict(sorted(seen.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("output", type=Path, metavar="FILE.md")
    arguments = parser.parse_args()
    seen = table(arguments.folder)
    lines = [one.to_markdown(name) for name, one in seen.items()]
    arguments.output.write_text(HEAD + "\n".join(lines) + "\n")
    unseen = [name for name, one in seen.items() if not one.delegates]
    print(f"{len(seen)} operators; without a recorded case: {', '.join(unseen) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
