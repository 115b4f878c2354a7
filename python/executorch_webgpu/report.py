"""What a benchmark found, as data and as tables: nothing here measures or needs a GPU."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Self, TypeVar

_Row = TypeVar("_Row")

_MATRIX_ARGUMENTS = {"et_vk.linear_q4gsw.default": (1, 2), "et_vk.rms_norm.default": (1,)}


@dataclass(frozen=True)
class Work:
    """The least that a call of a decoder has to do.

    Attributes:
        weight_bytes: weights that every call reads, as large as the program stores them. Of the
            embedding a call reads a few rows only: it counts where it is also the output layer.
        cache_bytes: keys and values of one position in all layers, as f32.
        token_parameters: weights that are multiplied with every token.
        call_parameters: weights that are multiplied once a call, for the last token's logits.
    """

    weight_bytes: int
    cache_bytes: int
    token_parameters: int
    call_parameters: int

    def bytes_read(self, positions: int) -> int:
        """Bytes that one decode step reads when it attends to `positions` positions."""
        return self.weight_bytes + self.cache_bytes * positions

    def operations(self, tokens: int) -> int:
        """Multiplications and additions in the linear layers of a call with `tokens` tokens."""
        return 2 * (self.token_parameters * tokens + self.call_parameters)


def work_of(
    calls: Iterable[tuple[str, Sequence[int]]],
    weights: Mapping[int, tuple[str, Sequence[int]]],
    cache_element_bytes: int = 4,
) -> Work:
    """The work of a delegate's graph.

    Args:
        calls: name and argument ids of each call, in order.
        weights: type and sizes of each constant by its id.
        cache_element_bytes: of the cache on the device.
    """
    weight_bytes = cache_bytes = 0
    parameters = {False: 0, True: 0}
    one_row = False
    for name, arguments in calls:
        one_row |= name == "aten.select_copy.int"
        for index in _MATRIX_ARGUMENTS.get(name, ()):
            kind, sizes = weights[arguments[index]]
            weight_bytes += _product(sizes) * (1 if kind == "uint8" else 4)
            if kind == "uint8":
                parameters[one_row] += 2 * _product(sizes)
        if name == "sdpa_with_kv_cache.default":
            _, (_, _, heads, width) = weights[arguments[3]]
            cache_bytes += 2 * heads * width * cache_element_bytes
    return Work(weight_bytes, cache_bytes, parameters[False], parameters[True])


def work_of_inspected(delegate: Mapping[str, Any]) -> Work | None:
    """The work of a delegate as `inspect` gives it; None for what is no decoder of this kind."""
    weights = {}
    for i, text in enumerate(delegate["graph"]["values"]):
        if found := re.fullmatch(r"weight (\w+)\[([\d, ]+)\]", text):
            weights[i] = (found[1], [int(size) for size in found[2].split(", ")])
    calls = [(call["name"], call["args"]) for call in delegate["graph"]["calls"]]
    try:
        work = work_of(calls, weights)
    except (KeyError, ValueError):
        return None
    return work if work.cache_bytes else None


@dataclass(frozen=True)
class Peaks:
    """What the machine could do at best; None where that is not known.

    Attributes:
        bandwidth: GB/s of its memory.
        tflops: 10^12 multiplications and additions a second.
    """

    bandwidth: float | None = None
    tflops: float | None = None


@dataclass(frozen=True)
class Timings:
    """Repetitions of one measurement.

    Attributes:
        name: "prefill" or "decode", or one that begins so.
        tokens: prompt length, or the number of tokens attended to when decoding.
        seconds: of one call until its logits are in host memory, once for each repetition.
        warmups: calls before those that were not counted.
        cpu_seconds: processor time of one call, on average.
        dispatches: of one call.
        host_microseconds: a call's time on the host by what it was spent on.
        kernel_microseconds: a call's time on the GPU by kernel, where that was timed.
    """

    name: str
    tokens: int
    seconds: Sequence[float]
    warmups: int = 0
    cpu_seconds: float | None = None
    dispatches: int | None = None
    host_microseconds: Mapping[str, float] | None = None
    kernel_microseconds: Mapping[str, float] | None = None

    @property
    def tokens_per_call(self) -> int:
        return self.tokens if self.name == "prefill" else 1

    @property
    def median(self) -> float:
        """Seconds of one call."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Median tokens per second."""
        return self.tokens_per_call / self.median

    @property
    def spread(self) -> tuple[float, float]:
        """Tokens per second of the slowest and the fastest repetition."""
        return (
            self.tokens_per_call / max(self.seconds),
            self.tokens_per_call / min(self.seconds),
        )

    def bandwidth_share(self, work: Work, peaks: Peaks) -> float | None:
        """Bytes that a decode step must read, of those that could have been in its time."""
        if peaks.bandwidth is None or not self.name.startswith("decode"):
            return None
        return work.bytes_read(self.tokens) / self.median / (peaks.bandwidth * 1e9)

    def arithmetic_share(self, work: Work, peaks: Peaks) -> float | None:
        """Operations that the linear layers must do, of those that could have been done."""
        if peaks.tflops is None:
            return None
        return work.operations(self.tokens_per_call) / self.median / (peaks.tflops * 1e12)


@dataclass(frozen=True)
class Report:
    """Everything measured about one model in one system.

    Attributes:
        system: what ran the model.
        load_seconds: compiling shaders and uploading weights, and reading the program if that is
            needed.
        first_token_seconds: the first call after that, with a prompt of `first_prompt_tokens`.
        gpu_bytes: GPU memory that the model takes, all lengths measured.
        command: what was run.
    """

    model: str
    adapter: str
    load_seconds: float | None
    first_prompt_tokens: int | None
    first_token_seconds: float | None
    timings: Sequence[Timings]
    system: str = "executorch-webgpu"
    provider: str | None = None
    driver: str | None = None
    command: str | None = None
    gpu_bytes: int | None = None
    work: Work | None = None
    peaks: Peaks = field(default_factory=Peaks)

    @property
    def label(self) -> str:
        """The system and what it runs on, for a legend."""
        return f"{self.system} ({self.provider})" if self.provider else self.system

    def find(self, name: str, tokens: int) -> Timings | None:
        """The measurement of that name and length."""
        return next((t for t in self.timings if (t.name, t.tokens) == (name, tokens)), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data: seconds, tokens, tokens per second and shares of 1."""
        rows = [
            asdict(t)
            | {"tokens_per_second": t.rate, "spread": list(t.spread)}
            | {name: share(t) for name, share in self._shares().items()}
            for t in self.timings
        ]
        return asdict(self) | {"timings": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        own = _known(cls, data)
        own["timings"] = [Timings(**_known(Timings, row)) for row in data["timings"]]
        own["work"] = Work(**data["work"]) if data.get("work") else None
        own["peaks"] = Peaks(**(data.get("peaks") or {}))
        return cls(**own)

    def to_markdown(self) -> str:
        """A sentence and a table for people; columns of which nothing is known are left out."""
        columns: dict[str, Callable[[Timings], str]] = {
            "": lambda t: t.name,
            "tokens": lambda t: f"{t.tokens}",
            "tok/s (median)": lambda t: f"{t.rate:,.1f}",
            "slowest – fastest": lambda t: " – ".join(f"{rate:,.1f}" for rate in t.spread),
            "ms per call": lambda t: f"{t.median * 1e3:,.3f}",
            "CPU ms": lambda t: _text(t.cpu_seconds, lambda s: f"{s * 1e3:,.3f}"),
            "host µs": lambda t: _text(t.host_microseconds, _host_text),
            "dispatches": lambda t: _text(t.dispatches, str),
            "of peak bandwidth": lambda t: _text(self._shares()["bandwidth_share"](t), _percent),
            "of peak arithmetic": lambda t: _text(self._shares()["arithmetic_share"](t), _percent),
            "warm-up + runs": lambda t: f"{t.warmups} + {len(t.seconds)}",
        }
        parts = [self._summary(), table(columns, self.timings), self._kernels_to_markdown()]
        return "\n\n".join(filter(None, parts))

    def _kernels_to_markdown(self) -> str:
        """A row for each kernel, the slowest first; "" where kernels were not timed."""
        totals: dict[str, float] = defaultdict(float)
        columns: dict[str, Callable[[str], str]] = {"GPU µs of a call": str}
        for timings in self.timings:
            times = timings.kernel_microseconds or {}
            columns[f"{timings.name} {timings.tokens}"] = partial(_time_text, times)
            for kernel, microseconds in times.items():
                totals[kernel] += microseconds
        kernels = sorted(totals, key=lambda kernel: -totals[kernel])
        return table(columns, kernels) if kernels else ""

    def _shares(self) -> dict[str, Callable[[Timings], float | None]]:
        work, peaks = self.work, self.peaks
        if work is None:
            return {"bandwidth_share": lambda t: None, "arithmetic_share": lambda t: None}
        return {
            "bandwidth_share": lambda t: t.bandwidth_share(work, peaks),
            "arithmetic_share": lambda t: t.arithmetic_share(work, peaks),
        }

    def _summary(self) -> str:
        where = ", ".join(filter(None, [self.adapter, self.driver]))
        facts = [f"`{self.model}`, {self.label} on {where}"]
        if self.load_seconds is not None:
            facts.append(f"loaded in {self.load_seconds:.2f} s")
        if self.first_token_seconds is not None:
            milliseconds = self.first_token_seconds * 1e3
            prompt = f"after a prompt of {self.first_prompt_tokens} tokens"
            facts.append(f"first token {milliseconds:.0f} ms {prompt}")
        if self.gpu_bytes is not None:
            facts.append(f"{self.gpu_bytes / 1e6:,.0f} MB of GPU memory")
        return "; ".join(facts) + "."


def times_by_kernel(profiles: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Microseconds of every dispatch by operator and kernel, where dispatches were timed.

    Args:
        profiles: of one call's delegates; see `native.Delegate.profile`.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for profile in profiles:
        for dispatch in profile["dispatches"]:
            if "microseconds" in dispatch:
                kernel = dispatch["kernel"].partition("[")[0]
                times[f"{dispatch['call']} {kernel}"].append(dispatch["microseconds"])
    return times


def comparison(reports: Sequence[Report]) -> str:
    """A table with a row for each measurement, a column for each report: median tok/s.

    Beside each report but the last stands its speed as a multiple of the last one's.
    """
    lengths = dict.fromkeys((t.name, t.tokens) for report in reports for t in report.timings)

    def cell(report: Report, key: tuple[str, int]) -> str:
        own, last = report.find(*key), reports[-1].find(*key)
        if own is None:
            return ""
        if report is reports[-1] or last is None:
            return f"{own.rate:,.0f}"
        return f"{own.rate:,.0f} (×{own.rate / last.rate:.2f})"

    columns: dict[str, Callable[[tuple[str, int]], str]] = {
        "tok/s": lambda key: f"{key[0]} {key[1]}"
    }
    for report in reports:
        columns[report.label] = partial(cell, report)
    return table(columns, list(lengths))


def table(columns: Mapping[str, Callable[[_Row], str]], rows: Sequence[_Row]) -> str:
    """A Markdown table, without the columns that are empty in every row."""
    texts = {head: [text(row) for row in rows] for head, text in columns.items()}
    kept = {head: cells for head, cells in texts.items() if any(cells)}
    lines = [f"| {' | '.join(kept)} |", f"|---|{'---:|' * (len(kept) - 1)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in zip(*kept.values(), strict=True)]
    return "\n".join(lines)


def _known(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in data.items() if name in names}


def _text(value: Any, write: Callable[[Any], str]) -> str:
    return "" if value is None else write(value)


def _time_text(times: Mapping[str, float], kernel: str) -> str:
    return _text(times.get(kernel), lambda value: f"{value:,.1f}")


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _host_text(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in parts.items())


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
