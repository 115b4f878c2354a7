"""Measuring a language model: prefill and decode speed at several contexts, and starting time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .generate import LanguageModel
from .report import Peaks, Report, Timings, Work, work_of_inspected
from .runtime import inspect

PREFILL_LENGTHS = (128, 512, 2048)
DECODE_CONTEXTS = (128, 2048)

_STEPS = 8  # of a run of decoding

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
        repetitions: calls per prefill length, and runs of eight steps of decoding; one more of each
            is made first and not counted.
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
    first_token_seconds = _timed(model, first, 0)

    timings: list[Timings] = []
    for tokens in _within(PREFILL_LENGTHS, model.longest_input):
        report(f"prefill {tokens}")
        calls = [(tokens, 0)] * repetitions
        timings.append(_measure("prefill", tokens, model, calls, _dispatches(path, tokens)))
    for context in _within(DECODE_CONTEXTS, model.context):
        report(f"decode at {context}")
        # What the cache holds does not matter for speed: no need to fill it first.
        timings.append(_measure_decode(context, model, repetitions, _dispatches(path, 1)))
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


def _measure(
    name: str,
    tokens: int,
    model: LanguageModel,
    calls: Sequence[tuple[int, int]],
    dispatches: int | None,
) -> Timings:
    """Time each call (tokens, position), after the first once more as a warm-up."""
    _timed(model, *calls[0])
    processor = time.process_time()
    seconds = [_timed(model, *call) for call in calls]
    processor = (time.process_time() - processor) / len(calls)
    return Timings(name, tokens, seconds, 1, processor, dispatches)


def _measure_decode(
    context: int, model: LanguageModel, repetitions: int, dispatches: int | None
) -> Timings:
    """Time runs of up to eight steps that end at `context`: seconds of a step in each.

    Greedily, with the tokens kept on the GPU, where the program allows.
    """
    steps = min(_STEPS, context)
    if model.continue_greedily is None:
        calls = [(1, context - steps + i % steps) for i in range(repetitions * steps)]
        return _measure("decode", context, model, calls, dispatches)
    seconds = []
    processor = 0.0
    for run in range(-1, repetitions):  # the first warms up
        if run == 0:
            processor = time.process_time()
        started = time.perf_counter()
        model.continue_greedily(1, context - steps, steps, frozenset())
        if run >= 0:
            seconds.append((time.perf_counter() - started) / steps)
    processor = (time.process_time() - processor) / (repetitions * steps)
    return Timings("decode", context, seconds, 1, processor, dispatches)


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


def _timed(model: LanguageModel, tokens: int, position: int) -> float:
    """Seconds of one call, until its logits are in host memory."""
    ids = [(7 * i + 11) % 1000 for i in range(tokens)]
    started = time.perf_counter()
    model(ids, position)
    return time.perf_counter() - started
