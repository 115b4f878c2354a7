"""Fields of a model's configuration, which nobody has checked yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import WebGPUError

# No model's widths, layers or vocabulary come near; products of two of them fit everywhere.
_MOST = 1 << 24


class Fields:
    """Fields by the names that config.json has for them.

    Every getter raises WebGPUError, in one sentence that says where, which field and which value.

    Args:
        where: the file, for errors.
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self._values = values

    def over(self, defaults: Mapping[str, Any]) -> Fields:
        """These fields, and others where they are missing or null."""
        given = {name: value for name, value in self._values.items() if value is not None}
        return Fields(self.where, {**defaults, **given})

    def has(self, name: str) -> bool:
        """True for a field that is there and not null."""
        return self._values.get(name) is not None

    def integer(self, name: str, default: int | None = None, least: int = 1) -> int:
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
            raise self.error(f"{name} is {short(value)}, not an integer from {least} to {_MOST}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self._value(name, default)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not 0 < value < 1e30:
            raise self.error(f"{name} is {short(value)}, not a positive number")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        return self.number(name) if self.has(name) else None

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} is {short(value)}, not true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.error(f"{name} is {short(value)}, not a string")
        return value

    def numbers(self, name: str, length: int) -> list[float]:
        """A list of so many positive numbers."""
        value = self._value(name, None)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != length:
            raise self.error(f"{name} is {short(value)}, not a list of {length} numbers")
        entries = Fields(self.where, {f"{name}[{i}]": x for i, x in enumerate(value)})
        return [entries.number(entry) for entry in entries._values]

    def entries(self, name: str, length: int) -> list[Any] | None:
        """A list with an entry for each of so many layers; None where there is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) < length:
            raise self.error(f"{name} is {short(value)}, not a list for {length} layers")
        return value[:length]

    def inner(self, name: str) -> Fields | None:
        """The fields inside a field; None where there are none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(f"{name} is {short(value)}, not an object")
        return Fields(f"{self.where}, {name}", value)

    def error(self, what: str) -> WebGPUError:
        return WebGPUError(f"{self.where}: {what}")

    def _value(self, name: str, default: Any) -> Any:
        value = self._values.get(name)
        if value is None and default is None:
            raise self.error(f"{name} is missing")
        return default if value is None else value


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
