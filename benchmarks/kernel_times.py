"""Measuring one operator, and what was measured as data and as lines."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from executorch_webgpu.report import times_by_kernel
from kernel_cases import Call, Case
from support.capi import Model


@dataclass
class Result:
    """Microseconds of every call at the same sizes.

    Attributes:
        sizes: as they were given.
        on_gpu: `calls` are times of the GPU, else of the host.
        bytes: the least that a call has to read and write, 0 where that is not known.
        operations: the same for multiplications and additions.
        calls: of the whole call.
        kernels: of each kernel, all its dispatches of a call together.
    """

    sizes: str
    on_gpu: bool
    bytes: int
    operations: int
    calls: list[float] = field(default_factory=list)
    kernels: dict[str, list[float]] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Take over another process's times."""
        self.calls += other.calls
        for kernel, times in other.kernels.items():
            self.kernels.setdefault(kernel, []).extend(times)

    def lines(self) -> list[str]:
        """A line for the call, and one for each of its kernels."""
        middle = median(self.calls)
        where = "on the GPU" if self.on_gpu else "on the host"
        text = f"{middle:10.1f} us {where} ({min(self.calls):.1f} to {max(self.calls):.1f})"
        if self.bytes:
            text += f", {self.bytes / middle / 1e3:.1f} GB/s"
        if self.operations:
            text += f", {self.operations / middle / 1e3:.1f} GFLOP/s"
        return [text] + [f"{median(t):10.1f} us in {name}" for name, t in self.kernels.items()]


def measure(case: Case, sizes: str, call: Call, warm_seconds: float, repetitions: int) -> Result:
    """Build, load, warm up and time one call of an operator; the option profiling must be on."""
    call.graph.output(*case.build(case, call))
    work = case.work(call.tensors)
    result = Result(sizes, True, work.bytes, work.operations)
    with call.graph.load() as model:
        end = time.perf_counter() + warm_seconds
        _run(model, call.inputs)
        while time.perf_counter() < end:
            _run(model, call.inputs)
        for _ in range(repetitions):
            seconds, profile = _run(model, call.inputs)
            on_gpu = _times(profile)
            for kernel, microseconds in on_gpu.items():
                result.kernels.setdefault(kernel, []).append(microseconds)
            result.on_gpu = bool(on_gpu)
            result.calls.append(sum(on_gpu.values()) if on_gpu else 1e6 * seconds)
    return result


def _run(model: Model, inputs: Sequence[torch.Tensor]) -> tuple[float, dict[str, Any]]:
    """Seconds of a call, and its profile."""
    start = time.perf_counter()
    model.run(*inputs)
    return time.perf_counter() - start, model.profile()


def _times(profile: dict[str, Any]) -> dict[str, float]:
    """Microseconds by kernel, all its dispatches together; empty without timestamps."""
    totals: dict[str, float] = defaultdict(float)
    for name, times in times_by_kernel([profile]).items():
        kernel = name.rpartition(" ")[2].partition("(")[0]
        totals[kernel if len(times) == 1 else f"{len(times)} dispatches of {kernel}"] += sum(times)
    return totals
