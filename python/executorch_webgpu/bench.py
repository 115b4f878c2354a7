"""Measuring a language model: prefill and decode speed at several contexts, and starting time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .generate import LanguageModel

PREFILL_LENGTHS = (128, 512, 2048)
DECODE_CONTEXTS = (128, 2048)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Timings:
    """Repetitions of one measurement.

    Attributes:
        name: "prefill" or "decode".
        tokens: prompt length, or the number of tokens attended to at the end of decoding.
        seconds: of one call, once for each repetition.
    """

    name: str
    tokens: int
    seconds: Sequence[float]

    @property
    def tokens_per_call(self) -> int:
        return self.tokens if self.name == "prefill" else 1

    @property
    def rate(self) -> float:
        """Median tokens per second."""
        return self.tokens_per_call / statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Tokens per second of the slowest and the fastest repetition."""
        return (
            self.tokens_per_call / max(self.seconds),
            self.tokens_per_call / min(self.seconds),
        )


@dataclass(frozen=True)
class Report:
    """Everything measured about one model.

    Attributes:
        load_seconds: reading the program, compiling shaders and uploading weights.
        first_token_seconds: the first call after that, with a prompt of `first_prompt_tokens`.
    """

    model: Path
    adapter: str
    load_seconds: float
    first_prompt_tokens: int
    first_token_seconds: float
    timings: Sequence[Timings]

    def to_json(self) -> dict[str, Any]:
        """Plain data: seconds, tokens and tokens per second."""
        rows = [
            asdict(t) | {"tokens_per_second": t.rate, "spread": list(t.spread)}
            for t in self.timings
        ]
        return asdict(self) | {"model": str(self.model), "timings": rows}

    def to_markdown(self) -> str:
        """A table for people."""
        lines = [
            f"`{self.model.name}` on {self.adapter}: loaded in {self.load_seconds:.2f} s, "
            f"first token {self.first_token_seconds * 1000:.0f} ms after a prompt of "
            f"{self.first_prompt_tokens} tokens.",
            "",
            "| | tokens | tok/s (median) | slowest – fastest | ms per call | runs |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for t in self.timings:
            slowest, fastest = t.spread
            milliseconds = statistics.median(t.seconds) * 1000
            lines.append(
                f"| {t.name} | {t.tokens} | {t.rate:,.1f} | {slowest:,.1f} – {fastest:,.1f} "
                f"| {milliseconds:,.2f} | {len(t.seconds)} |"
            )
        return "\n".join(lines)


def bench(
    path: Path,
    repetitions: int = 5,
    adapter: str = "the default adapter",
    report: Progress = lambda what: None,
) -> Report:
    """Measure a model. Lengths beyond what it takes are measured at its limit.

    Args:
        repetitions: calls per prefill length, and eight times as many single tokens; one more of
            each is made first and not counted.
        adapter: what to call the adapter in the report.
        report: called with what is measured next.
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
        _timed(model, tokens, 0)
        seconds = [_timed(model, tokens, 0) for _ in range(repetitions)]
        timings.append(Timings("prefill", tokens, seconds))
    for context in _within(DECODE_CONTEXTS, model.context):
        report(f"decode at {context}")
        # What the cache holds does not matter for speed: no need to fill it first.
        start = max(0, context - 8 * repetitions)
        _timed(model, 1, start)
        seconds = [_timed(model, 1, position) for position in range(start, context)]
        timings.append(Timings("decode", context, seconds))
    return Report(path, adapter, load_seconds, first, first_token_seconds, timings)


def _within(lengths: Sequence[int], limit: int) -> list[int]:
    return sorted({min(length, limit) for length in lengths})


def _timed(model: LanguageModel, tokens: int, position: int) -> float:
    """Seconds of one call, until its logits are in host memory."""
    ids = [(7 * i + 11) % 1000 for i in range(tokens)]
    started = time.perf_counter()
    model(ids, position)
    return time.perf_counter() - started
