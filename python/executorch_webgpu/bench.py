"""Measuring a language model: prefill and decode speed at several contexts, and starting time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .generate import LanguageModel
from .report import Peaks, Report, Timings, Work, work_of_inspected
from .runtime import inspect

PREFILL_LENGTHS = (128, 512, 2048)
DECODE_CONTEXTS = (128, 2048, 8192)

_STEPS = 8  # of a run of decoding
_WARM_SECONDS = 0.5

Progress = Callable[[str], None]


def bench(
    path: Path,
    repetitions: int = 5,
    adapter: str = "the default adapter",
    report: Progress = lambda what: None,
    peaks: Peaks | None = None,
) -> Report:
    """Measure a model. Lengths beyond what it takes are measured at its limit.

    Args:
        repetitions: calls per prefill length, and runs of eight steps of decoding; some of each
            are made first and not counted.
        adapter: what to call the adapter in the report.
        report: called with what is measured next.
        peaks: of the machine, to report shares of them.
    """
    report("load")
    started = time.perf_counter()
    model = LanguageModel.load(path)
    load_seconds = time.perf_counter() - started

    first = min(PREFILL_LENGTHS[0], model.longest_input)
    report("first token")
    started = time.perf_counter()
    _call(model, first, 0)
    first_token_seconds = time.perf_counter() - started

    timings: list[Timings] = []
    for tokens in _within(PREFILL_LENGTHS, model.longest_input):
        report(f"prefill {tokens}")
        measured = measure("prefill", tokens, partial(_call, model), [(tokens, 0)] * repetitions)
        timings.append(replace(measured, dispatches=_dispatches(path, tokens)))
    for context in _within(DECODE_CONTEXTS, model.context):
        report(f"decode at {context}")
        # What the cache holds does not matter for speed: no need to fill it first.
        measured = _measure_decode(context, model, repetitions)
        timings.append(replace(measured, dispatches=_dispatches(path, 1)))
    gpu_bytes, work = _planned(path)
    return Report(
        str(path),
        adapter,
        load_seconds,
        first,
        first_token_seconds,
        timings,
        gpu_bytes=gpu_bytes,
        work=work,
        peaks=peaks or Peaks(),
    )


def measure(
    name: str,
    length: int,
    call: Callable[[int, int], object],
    arguments: Sequence[tuple[int, int]],
    warm_seconds: float = _WARM_SECONDS,
    steps: int = 1,
) -> Timings:
    """Time call(count, position) for each of `arguments`, after warming up with the first.

    Args:
        warm_seconds: how long to warm up at least, and with two calls: an idle GPU's clock takes
            its time to rise.
        steps: that a call makes; times are of one.
    """
    started = time.perf_counter()
    warmups = 0
    while arguments and (warmups < 2 or time.perf_counter() - started < warm_seconds):
        call(*arguments[0])
        warmups += 1
    seconds = []
    processor = time.process_time()
    for argument in arguments:
        started = time.perf_counter()
        call(*argument)
        seconds.append((time.perf_counter() - started) / steps)
    processor = (time.process_time() - processor) / (len(arguments) * steps)
    return Timings(name, length, seconds, warmups, processor)


def _measure_decode(context: int, model: LanguageModel, repetitions: int) -> Timings:
    """Time runs of up to eight steps that end at `context`: seconds of a step in each.

    Greedily, with the tokens kept on the GPU, where the program allows.
    """
    steps = min(_STEPS, context)
    greedily = model.continue_greedily
    if greedily is None:
        calls = [(1, context - steps + i % steps) for i in range(repetitions * steps)]
        return measure("decode", context, partial(_call, model), calls)

    def decode(count: int, position: int) -> None:
        greedily(1, position, count, frozenset())

    runs = [(steps, context - steps)] * repetitions
    return measure("decode", context, decode, runs, steps=steps)


def _dispatches(path: Path, tokens: int) -> int | None:
    """Dispatches of a call with `tokens` tokens; None when the graph is not one delegate's."""
    for delegate in _delegates(path, {"sizes": [[1, tokens], [1]]}):
        for plan in delegate.get("plans", []):
            sizes = [value["sizes"] for value in plan.get("inputs", [])]
            if [1, tokens] in sizes:
                count: int = plan["dispatch_count"]
                return count
    return None


def _planned(path: Path) -> tuple[int | None, Work | None]:
    """GPU memory that the delegates are planned to take in bytes, and the work of a call."""
    delegates = list(_delegates(path))
    if any("memory" not in delegate for delegate in delegates):
        return None, None
    total = sum(
        delegate["memory"]["constant_bytes"]
        + delegate["memory"]["state_bytes"]
        + max((plan.get("slot_bytes", 0) for plan in delegate["plans"]), default=0)
        for delegate in delegates
    )
    return total, work_of_inspected(delegates[0]) if len(delegates) == 1 else None


def _delegates(path: Path, settings: dict[str, Any] | None = None) -> Iterable[dict[str, Any]]:
    for method in inspect(path, None, settings)["methods"]:
        if method["name"] == "forward":
            yield from method["delegates"]


def _within(lengths: Sequence[int], limit: int) -> list[int]:
    return sorted({min(length, limit) for length in lengths})


def _call(model: LanguageModel, tokens: int, position: int) -> None:
    """One call, until its logits are in host memory."""
    model([(7 * i + 11) % 1000 for i in range(tokens)], position)
