"""Cases in files, for replays where there is no torch: in Python and in TypeScript.

A folder has pairs of files, `cases-NNN.json` and `cases-NNN.bin`. The first is an index of the
second, whose bytes are referred to by ranges, [offset, size]. Offsets are multiples of 8; equal
bytes are there once. Everything is little-endian, and tensors are contiguous. Pairs of
`kernels-NNN` and `programs-NNN` are alike, but that the "blob" is a whole program (.pte), whose
`forward` is called, and "data" its data files (.ptd) by name.

    {"version": 1, "cases": [CASE, ...]}

CASE: a delegate, loaded once for all its calls, which follow each other.
    "name"        the test, and the number of the model where it has several
    "options"     the backend's options for the load, text by name
    "matrices"    whether f16 products were expected of matrix units (support/adapter.py); matters
                  where the options say {"matmul_dtype": "f16"}: others compute in f32
    "blob"        range of the delegate's bytes
    "data"        ranges of its named data, by key
    "capacities"  bytes to offer for each output: what its recorded bound needs
    "error"       the sentence with which the load fails, or null
    "calls"       [CALL, ...]

CALL:
    "inputs"      numbers for live scalars, and tensors {"dtype", "sizes", "range"}; a dtype is
                  bool, uint8, int8, int32, float16, float32, float64 or int64
    "outputs"     [OUTPUT or null, ...]; what null stands for is not to be compared
    "error"       the sentence with which the call fails, or null

OUTPUT: what eager torch gives and which differences are in order. expected.py is the definition.
    "dtype", "sizes"
    "alternatives"     ranges: every element is that of one of them
    "relative", "absolute"    where a finite float is expected:
                       |got - expected| <= absolute + relative * |expected|, in doubles
    "subnormal_zeros"  true where numbers below the smallest normal f32 count as zeros
    "signed"           range of a bool for each element: whether a zero has the sign of the first
                       alternative's; or null
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .expected import Array, Expected, Tolerance

VERSION = 1
_ALIGNMENT = 8
_FULL = 16 << 20  # bytes after which the next pair of files begins


@dataclass(eq=False)
class Call:
    inputs: list[Array | int]
    outputs: list[Expected | None] = field(default_factory=list)
    error: str | None = None

    @property
    def says_something(self) -> bool:
        return self.error is not None or any(self.outputs)


@dataclass(eq=False)
class Case:
    name: str
    options: Mapping[str, str]
    matrices: bool
    blob: bytes
    data: Mapping[str, bytes]
    capacities: Sequence[int]
    error: str | None = None
    calls: list[Call] = field(default_factory=list)


class CaseWriter:
    """Writes cases into a folder, whose earlier cases are gone."""

    def __init__(self, folder: Path, stem: str = "cases") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob(f"{stem}-*.json"), *folder.glob(f"{stem}-*.bin")):
            old.unlink()
        self._folder, self._stem = folder, stem
        self._pairs = 0
        self.bytes = 0  # of all pairs that are written
        self._begin()

    def _begin(self) -> None:
        self._binary = bytearray()
        self._ranges: dict[bytes, list[int]] = {}
        self._cases: list[str] = []

    def write(self, case: Case) -> None:
        self._cases.append(json.dumps(self._case(case), separators=(",", ":"), allow_nan=False))
        if len(self._binary) > _FULL:
            self.finish_pair()

    def finish_pair(self) -> None:
        """Write what has come since the last pair, if anything has."""
        if not self._cases:
            return
        stem = self._folder / f"{self._stem}-{self._pairs:03d}"
        text = f'{{"version":{VERSION},"cases":[\n' + ",\n".join(self._cases) + "\n]}\n"
        self.bytes += stem.with_suffix(".json").write_bytes(text.encode())
        self.bytes += stem.with_suffix(".bin").write_bytes(self._binary)
        self._pairs += 1
        self._begin()

    def _case(self, case: Case) -> dict[str, Any]:
        return {
            "name": case.name,
            "options": dict(case.options),
            "matrices": case.matrices,
            "blob": self._range(case.blob),
            "data": {key: self._range(data) for key, data in case.data.items()},
            "capacities": list(case.capacities),
            "error": case.error,
            "calls": [
                {
                    "inputs": [i if isinstance(i, int) else self._tensor(i) for i in call.inputs],
                    "outputs": [e and self._output(e) for e in call.outputs],
                    "error": call.error,
                }
                for call in case.calls
            ],
        }

    def _tensor(self, array: Array) -> dict[str, Any]:
        return {**_kind(array), "range": self._range(array.tobytes())}

    def _output(self, expected: Expected) -> dict[str, Any]:
        alternatives: list[list[int]] = []
        for alternative in expected.alternatives:
            found = self._range(alternative.tobytes())
            if found not in alternatives:
                alternatives.append(found)
        return {
            **_kind(expected.alternatives[0]),
            "alternatives": alternatives,
            "relative": expected.tolerance.relative,
            "absolute": expected.tolerance.absolute,
            "subnormal_zeros": expected.subnormal_zeros,
            "signed": None if expected.signed is None else self._range(expected.signed.tobytes()),
        }

    def _range(self, data: bytes) -> list[int]:
        key = hashlib.sha256(data).digest()
        if key not in self._ranges:
            self._binary += bytes(-len(self._binary) % _ALIGNMENT)
            self._ranges[key] = [len(self._binary), len(data)]
            self._binary += data
        return self._ranges[key]


def _kind(array: Array) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "sizes": list(array.shape)}


def read_indices(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """For each pair of files its binary one and its CASEs as they are written.

    Raises ValueError where one is of another version.
    """
    for path in sorted(folder.glob("cases-*.json")):
        index = json.loads(path.read_bytes())
        if index["version"] != VERSION:
            raise ValueError(f"{path} has version {index['version']}, this reads {VERSION}")
        yield path.with_suffix(".bin"), index["cases"]


def read_case(written: Mapping[str, Any], binary: bytes) -> Case:
    """The CASE `written` in the index of `binary`."""

    def part(found: Sequence[int]) -> bytes:
        offset, size = found
        return binary[offset : offset + size]

    def array(kind: Mapping[str, Any], found: Sequence[int], dtype: str = "") -> Array:
        count = math.prod(kind["sizes"])
        made = np.frombuffer(part(found), dtype or kind["dtype"], count)
        return made.reshape(kind["sizes"])

    def expected(output: Mapping[str, Any]) -> Expected:
        return Expected(
            [array(output, found) for found in output["alternatives"]],
            Tolerance(output["relative"], output["absolute"]),
            output["subnormal_zeros"],
            output["signed"] and array(output, output["signed"], "bool"),
        )

    calls = [
        Call(
            [i if isinstance(i, int) else array(i, i["range"]) for i in call["inputs"]],
            [o and expected(o) for o in call["outputs"]],
            call["error"],
        )
        for call in written["calls"]
    ]
    return Case(
        written["name"],
        written["options"],
        written["matrices"],
        part(written["blob"]),
        {key: part(found) for key, found in written["data"].items()},
        written["capacities"],
        written["error"],
        calls,
    )
