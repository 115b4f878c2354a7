"""docs/models.md: tables whose rows are kept as data beside it, in docs/results."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import language_table
import models_table
import optimum_table


class Row(Protocol):
    """Something that was run, as a dataclass."""

    @property
    def key(self) -> Hashable:
        """What tells it from others: a row takes the place of one with the same."""


@dataclass(frozen=True)
class _Kind:
    file: str
    row: type[Any]
    text: Callable[[Sequence[Any]], str]


_KINDS = (
    _Kind("models.json", models_table.Row, models_table.text),
    _Kind("language_models.json", language_table.LanguageRow, language_table.text),
    _Kind("optimum.json", optimum_table.OptimumRow, optimum_table.text),
)


class Document:
    """Rows of this run and of earlier ones."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.rows = {kind: self._kept(kind) for kind in _KINDS}

    def add(self, row: Row) -> None:
        """Takes a row in; its data and the document are written."""
        (kind,) = [kind for kind in _KINDS if isinstance(row, kind.row)]
        rows = self.rows[kind]
        rows[row.key] = row
        data = [asdict(one) for one in rows.values()]
        self._data(kind).write_text(json.dumps(data, indent=1) + "\n")
        texts = [kind.text(list(rows.values())) for kind, rows in self.rows.items()]
        self.target.write_text("\n".join(filter(None, texts)))

    def _data(self, kind: _Kind) -> Path:
        return self.target.parent / "results" / kind.file

    def _kept(self, kind: _Kind) -> dict[Hashable, Any]:
        path = self._data(kind)
        kept = json.loads(path.read_text()) if path.exists() else []
        return {row.key: row for row in (kind.row(**fields) for fields in kept)}
