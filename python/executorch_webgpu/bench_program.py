"""Measuring a method of any program: its first call, and how long the others take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WebGPUError
from .files import DataPath
from .inputs import describe
from .report import times_by_kernel
from .runtime import Model, load

if TYPE_CHECKING:
    from .runtime import Value

_WARM_SECONDS = 0.5
_LEAST_WARM_CALLS = 2


@dataclass(frozen=True)
class CallReport:
    """What calls of one method take, from inputs on the host to outputs on the host.

    Attributes:
        inputs: what it was called with, in words.
        load_seconds: reading the program, uploading weights and compiling what can be compiled.
        first_call_seconds: the first call, which compiles the rest.
        seconds: of each call after some that were not counted.
        gpu_bytes: GPU memory that its delegates take.
        dispatches: of a call, in all its delegates.
        kernel_microseconds: of a call by kernel, where the option profiling was on.
    """

    program: str
    method: str
    adapter: str
    inputs: list[str]
    load_seconds: float
    first_call_seconds: float
    seconds: list[float]
    delegates: int
    dispatches: int
    gpu_bytes: int
    kernel_microseconds: dict[str, float]

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain data in seconds and bytes."""
        return {**asdict(self), "median_seconds": self.median}

    def to_markdown(self) -> str:
        """For people: a sentence, a table, and kernels by their time if that is known."""
        rows = {
            "a call, median": _milliseconds(self.median),
            "fastest – slowest": f"{_milliseconds(min(self.seconds))} – "
            f"{_milliseconds(max(self.seconds))}",
            "first call": _milliseconds(self.first_call_seconds),
            "load": f"{self.load_seconds:.2f} s",
            "GPU memory": f"{self.gpu_bytes / 1e6:,.1f} MB",
            "dispatches": f"{self.dispatches} in {self.delegates} delegate"
            + ("" if self.delegates == 1 else "s"),
        }
        kernels = sorted(self.kernel_microseconds.items(), key=lambda one: -one[1])
        table = [f"| {name} | {value} |" for name, value in rows.items()]
        times = [f"| {name} | {micro:,.1f} µs |" for name, micro in kernels]
        return "\n".join(
            [
                f"{self.program}, {self.method}({', '.join(self.inputs)}) on {self.adapter}, "
                f"{len(self.seconds)} calls",
                "",
                "|  |  |\n|---|---:|",
                *table,
                *(["", "| kernel | a call |\n|---|---:|", *times] if times else []),
            ]
        )


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.3f} ms"


def bench_program(
    path: Path,
    method: str = "forward",
    repetitions: int = 20,
    adapter: str = "the default adapter",
    report: Callable[[str], None] = lambda what: None,
    data_path: DataPath = None,
) -> CallReport:
    """Measure a method with made-up inputs of the largest sizes that it takes.

    Args:
        repetitions: calls that are counted.
        adapter: what to call the adapter in the report.
        report: called with what is measured next.
        data_path: the program's .ptd files, if its weights lie outside.

    Raises:
        WebGPUError: the program cannot be loaded, or has no such method.
    """
    report("load")
    started = time.perf_counter()
    model = load(path, data_path)
    model.import_kernels()
    model.load_method(method)
    load_seconds = time.perf_counter() - started
    wanted = _inputs_of(model, method)
    inputs = [_made_up(one) for one in wanted]
    report("first call")
    first = _seconds_of(model, method, inputs)
    report("calls")
    started = time.perf_counter()
    warm = 0
    while warm < _LEAST_WARM_CALLS or time.perf_counter() - started < _WARM_SECONDS:
        model.execute(method, inputs)
        warm += 1
    seconds = [_seconds_of(model, method, inputs) for _ in range(repetitions)]
    profiles = _profiles(model, method)
    times = times_by_kernel(profiles)
    return CallReport(
        str(path),
        method,
        adapter,
        [describe(one) for one in wanted],
        load_seconds,
        first,
        seconds,
        len(profiles),
        sum(profile["dispatch_count"] for profile in profiles),
        sum(profile["gpu_bytes"] for profile in profiles),
        {name: sum(each) for name, each in times.items()},
    )


def _inputs_of(model: Model, method: str) -> list[dict[str, Any]]:
    (found,) = [one for one in model.outline["methods"] if one["name"] == method]
    return list(found["inputs"])


def _made_up(wanted: dict[str, Any]) -> Value:
    """Floats around zero; integers are zeros, which are indices of everything."""
    import torch

    if "sizes" not in wanted:
        return wanted.get("value")  # type: ignore[return-value]
    kind: torch.dtype = getattr(torch, wanted["type"])
    sizes = wanted["sizes"]
    if kind.is_floating_point:
        return torch.randn(sizes, generator=torch.Generator().manual_seed(0)).to(kind)
    return torch.zeros(sizes, dtype=kind)


def _seconds_of(model: Model, method: str, inputs: Sequence[Value]) -> float:
    started = time.perf_counter()
    model.execute(method, inputs)
    return time.perf_counter() - started


def _profiles(model: Model, method: str) -> list[dict[str, Any]]:
    found = []
    for delegate in model.delegates(method):
        with suppress(WebGPUError):  # one that no call has come to
            found.append(delegate.profile())
    return found
