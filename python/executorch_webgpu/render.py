"""The backend's JSON as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def devices(found: Mapping[str, Any]) -> RenderableType:
    """Every provider with its adapters, the selected one marked, and what self tests found."""
    selected = found.get("selected") or {}
    table = Table("", "provider", "adapter", "type", "backend", "driver", box=None)
    for provider in found.get("providers", []):
        adapters = provider.get("adapters") or []
        for adapter in adapters:
            chosen = all(adapter.get(key) == selected.get(key) for key in ("index", "name"))
            cells = [adapter.get(key, "") for key in ("name", "type", "backend", "driver")]
            table.add_row("→" if chosen else "", provider.get("name", ""), *map(_text, cells))
        if not adapters:
            table.add_row("", provider.get("name", ""), f"[dim]{_text(provider.get('status'))}[/]")
    if not found.get("providers"):
        return Text("No WebGPU implementation is installed: pip install wgpudawn wgpu")
    return Group(table, *_self_tests(found["providers"]))


def _self_tests(providers: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """How many kernels agreed on each adapter that has been tested, and those that did not."""
    for provider in providers:
        for adapter in provider.get("adapters") or []:
            if not (tested := adapter.get("self_test")):
                continue
            replaced = tested["replaced"]
            right, count = tested["tried"] - len(replaced), tested["tried"] + tested["untried"]
            where = f"{adapter['name']} ({provider['name']})"
            yield Text(f"\nSelf test of {where}: {right} of {count} kernels agree")
            for kernel in replaced:
                name, features = kernel["kernel"].split("[")[0], ", ".join(kernel["without"])
                yield Text(f"  {name} is wrong, without {features} right: {kernel['why']}")


def kernel_texts(found: Mapping[str, Any], number: int) -> list[str]:
    """The WGSL of a dispatch in each plan of an inspection that shows it, under a comment."""
    texts = []
    for method in found["methods"]:
        for index, delegate in enumerate(method["delegates"]):
            for plan in delegate.get("plans", []):
                if text := plan.get("wgsl"):
                    kernel = plan["dispatches"][number]["kernel"]
                    where = f"{method['name']}, delegate {index}, {plan['for']}"
                    texts.append(f"// {where}, dispatch {number}: {kernel}\n{text}")
    return texts


def document(value: Mapping[str, Any], hidden: Sequence[str] = ()) -> RenderableType:
    """Any JSON object: numbers and words first, then its lists and objects, each under its path.

    Args:
        hidden: keys to leave out, at any depth.
    """
    return Group(*_sections(_without(value, frozenset(hidden)), ()))


def _without(value: Any, hidden: frozenset[str]) -> Any:
    """A copy of a JSON value without the keys in `hidden`."""
    if isinstance(value, Mapping):
        return {k: _without(item, hidden) for k, item in value.items() if k not in hidden}
    if isinstance(value, list):
        return [_without(item, hidden) for item in value]
    return value


def _sections(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[RenderableType]:
    plain = {key: item for key, item in value.items() if not _is_nested(item) and item != []}
    if plain:
        if path:
            yield _heading(path)
        facts = Table(box=None, show_header=False)
        for key, item in plain.items():
            facts.add_row(f"[dim]{escape(_words(key))}[/]", _text(item, key))
        yield facts
    for key, item in value.items():
        if not _is_nested(item) or not item:
            continue
        below = (*path, _words(key))
        if isinstance(item, Mapping):
            yield from _sections(item, below)
        elif any(_is_nested(part) for row in item for part in row.values()):
            for i, row in enumerate(item):
                yield from _sections(row, (*below, str(row.get("name", i))))
        else:
            yield _heading(below)
            yield _rows(item)


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*(escape(_words(key)) for key in keys), box=None, header_style="dim")
    for row in rows:
        table.add_row(*(_text(row.get(key), key) for key in keys))
    return table


def _is_nested(value: Any) -> bool:
    """An object, or a list of objects. A list of plain values fits into one cell."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _heading(path: Sequence[str]) -> Text:
    return Text("\n" + " › ".join(path), style="bold")


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: Any, key: str = "") -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key.endswith("bytes"):
        return _bytes(value)
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return escape("[" + ", ".join(_text(item) for item in value) + "]")
    return escape(str(value))


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
