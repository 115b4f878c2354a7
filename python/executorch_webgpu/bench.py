"""Measuring a language model: prefill and decode speed at several contexts, and starting time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .errors import WebGPUError
from .files import DataPath
from .generate import LanguageModel
from .report import Peaks, Report, Timings, Work, times_by_kernel, work_of_inspected
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
    data_path: DataPath = None,
) -> Report:
    """Measure a model. Lengths beyond what it takes are measured at its limit.

    Args:
        repetitions: calls per prefill length, and runs of eight steps of decoding; some of each
            are made first and not counted.
        adapter: what to call the adapter in the report.
        report: called with what is measured next.
        peaks: of the machine, to report shares of them.
        data_path: the program's .ptd files, if its weights lie outside.
    """
    report("load")
    started = time.perf_counter()
    model = LanguageModel.load(path, data_path)
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
        timings.append(_with_profiles(measured, model))
    for context in _within(DECODE_CONTEXTS, model.context):
        report(f"decode at {context}")
        # What the cache holds does not matter for speed: no need to fill it first.
        measured = _measure_decode(context, model, repetitions)
        timings.append(_with_profiles(measured, model))
    return Report(
        str(path),
        adapter,
        load_seconds,
        first,
        first_token_seconds,
        timings,
        gpu_bytes=sum(profile["gpu_bytes"] for profile in _profiles(model)),
        work=_work(path),
        peaks=peaks or Peaks(),
    )


def is_language_model(path: Path, data_path: DataPath = None) -> bool:
    """Whether ``forward`` takes tokens [1, S] and a position [1] of int64."""
    methods = inspect(path, data_path, {"outline": True})["methods"]
    inputs = [one for method in methods if method["name"] == "forward" for one in method["inputs"]]
    ranks = [len(one["sizes"]) for one in inputs if one.get("type") == "int64" and "sizes" in one]
    return len(inputs) == len(ranks) and ranks == [2, 1]


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


def _with_profiles(timings: Timings, model: LanguageModel) -> Timings:
    """With the dispatches of the last call, in all delegates, and their times if there are any."""
    profiles = _profiles(model)
    times = {name: sum(each) for name, each in times_by_kernel(profiles).items()}
    dispatches = sum(profile["dispatch_count"] for profile in profiles)
    return replace(timings, dispatches=dispatches, kernel_microseconds=times or None)


def _profiles(model: LanguageModel) -> list[dict[str, Any]]:
    found = []
    for delegate in model.delegates:
        with suppress(WebGPUError):  # one that no call has come to
            found.append(delegate.profile())
    return found


def _work(path: Path) -> Work | None:
    """The work of a call; None where that is more than one delegate's."""
    methods = inspect(path)["methods"]
    (delegates,) = [method["delegates"] for method in methods if method["name"] == "forward"]
    return work_of_inspected(delegates[0]) if len(delegates) == 1 else None


def _within(lengths: Sequence[int], limit: int) -> list[int]:
    return sorted({min(length, limit) for length in lengths})


def _call(model: LanguageModel, tokens: int, position: int) -> None:
    """One call, until its logits are in host memory."""
    model([(7 * i + 11) % 1000 for i in range(tokens)], position)
