"""Whether a program can run here, said before anything of it is on a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import listed
from .files import DataPath, StrPath
from .runtime import inspect, missing_operators, obstacles, refusals

_BOUND = "the largest inputs"
_PACKINGS = {"half-pairs": "f16", "wide-words": "i64", "bytes": "8 bits"}


@dataclass(frozen=True)
class MissingOperator:
    """An operator of a delegate that the runtime does not have, and how many calls of it."""

    method: str
    operator: str
    calls: int


@dataclass(frozen=True)
class Memory:
    """Bytes on the GPU; activations at the largest inputs.

    Attributes:
        staging: beside the rest, while weights are uploaded.
        state_types: what the states' elements are stored as.
        context: tokens that a language model's cache holds, if the program says so.
    """

    constants: int
    states: int
    activations: int
    staging: int = 0
    state_types: tuple[str, ...] = ()
    context: int | None = None

    @property
    def total(self) -> int:
        return self.constants + self.states + self.activations

    def sentence(self) -> str:
        """What takes how much."""
        tokens = [f"{self.context:,} tokens"] if self.context else []
        of_states = ", ".join([*tokens, *self.state_types])
        return (
            f"{_size(self.total)} of GPU memory: {_size(self.constants)} for weights, "
            f"{_size(self.states)} for states{f' ({of_states})' if self.states else ''} and, with "
            f"the largest inputs, {_size(self.activations)} for activations"
            + (f"; {_size(self.staging)} more while it loads" if self.staging else "")
        )


@dataclass(frozen=True)
class Check:
    """What a program needs and whether it finds that here.

    Attributes:
        adapter: for which it was checked; "" for none.
        operators: calls in its delegates, by operator.
        outside: calls outside of them, by the kernels of ExecuTorch that they need.
        problems: why it cannot run, a sentence each.
        warnings: what goes past the adapter's limits for the largest inputs only.
    """

    path: str
    adapter: str
    methods: list[str]
    operators: dict[str, int]
    outside: dict[str, int]
    missing: list[MissingOperator]
    memory: Memory
    problems: list[str]
    warnings: list[str]

    @property
    def runs(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        memory = {**asdict(self.memory), "total": self.memory.total}
        return {"runs": self.runs, **asdict(self), "memory": memory}

    def sentences(self) -> list[str]:
        """All of it for people."""
        verdict = "runs" if self.runs else "does not run"
        where = f"on {self.adapter}" if self.adapter else "without an adapter"
        methods = f"{_count(len(self.methods), 'method')} ({', '.join(self.methods)})"
        return [
            f"{self.path} {verdict} {where}: {methods}.",
            f"{self._calls()}.",
            f"It takes {self.memory.sentence()}.",
            *(f"{text[0].upper()}{text[1:]}." for text in (*self.problems, *self.warnings)),
        ]

    def _calls(self) -> str:
        calls, host = sum(self.operators.values()), sum(self.outside.values())
        operators = _count(len(self.operators), "operator")
        text = f"Its delegates have {_count(calls, 'call')} of {operators}"
        if host == 0:
            return text
        return f"{text}; ExecuTorch's are {_count(host, 'call')} outside ({listed(self.outside)})"


def check(path: StrPath, data_path: DataPath = None) -> Check:
    """Check a program against this machine's adapter, or WebGPU's least limits without one.

    Args:
        path: the .pte file.
        data_path: its .ptd files, or their folder, if its weights lie outside.

    Raises:
        WebGPUError: a file is missing or not what it should be.
    """
    found = inspect(path, data_path)
    planned_for = found["planned_for"]
    capabilities = planned_for["capabilities"]
    methods = found["methods"]
    missing = [m for method in methods for m in _missing(method)]
    problems = obstacles(found)
    warnings: list[str] = []
    for method in methods:
        problems += refusals(method)
        for delegate in method["delegates"]:
            sentences = list(_passed_limits(method, delegate, capabilities))
            (warnings if _is_dynamic(method) else problems).extend(sentences)
    return Check(
        str(path),
        planned_for.get("adapter", ""),
        [method["name"] for method in methods],
        _counts(d["operators"] for m in methods for d in m["delegates"] if "operators" in d),
        _counts(method["host_kernels"] for method in methods),
        missing,
        _memory(found),
        problems,
        warnings,
    )


def _counts(lists: Any) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for operators in lists:
        for operator in operators:
            counted[operator["name"]] += operator.get("calls", 1)
    return dict(sorted(counted.items()))


def _missing(method: Mapping[str, Any]) -> Iterator[MissingOperator]:
    counted: Counter[str] = Counter()
    for delegate in method["delegates"]:
        for operator in missing_operators(delegate):
            counted[operator["name"]] += operator["calls"]
    for name, calls in counted.items():
        yield MissingOperator(method["name"], name, calls)


def _passed_limits(
    method: Mapping[str, Any], delegate: Mapping[str, Any], limits: Mapping[str, Any]
) -> Iterator[str]:
    """What is larger than the adapter takes when inputs are at their largest."""
    plans = [plan for plan in delegate.get("plans", []) if plan.get("for") == _BOUND]
    for plan in plans:
        bindings = [b["size"] for d in plan["dispatches"] for b in d["bindings"]]
        grids = [side for d in plan["dispatches"] for side in d["grid"]]
        for what, needed, most in (
            ("a buffer", max(plan["slots"], default=0), limits["max_buffer_size"]),
            ("a binding", max(bindings, default=0), limits["max_storage_binding"]),
        ):
            if needed > most:
                yield (
                    f"method '{method['name']}' with its largest inputs needs {what} of "
                    f"{_size(needed)}, but the adapter has at most {_size(most)}"
                )
        if max(grids, default=0) > (most := limits["max_workgroups_per_dimension"]):
            yield (
                f"method '{method['name']}' with its largest inputs dispatches {max(grids)} "
                f"workgroups in a dimension, but the adapter takes at most {most}"
            )


def _is_dynamic(method: Mapping[str, Any]) -> bool:
    return any(one.get("dynamic") for one in method["inputs"])


def memory_needed(path: StrPath, data_path: DataPath = None) -> Memory:
    """What a program takes by its parts, before anything of it is on a GPU.

    Raises:
        WebGPUError: a file is missing or not what it should be.
    """
    return _memory(inspect(path, data_path))


def _memory(found: Mapping[str, Any]) -> Memory:
    delegates = [d for method in found["methods"] for d in method["delegates"]]
    parts = [delegate["memory"] for delegate in delegates if "memory" in delegate]
    plans = [plan for delegate in delegates for plan in delegate.get("plans", [])]
    states = [state for part in parts for state in part["states"]]
    return Memory(
        sum(part["constant_bytes"] for part in parts),
        sum(part["state_bytes"] for part in parts),
        sum(plan.get("slot_bytes", 0) for plan in plans if plan["for"] == _BOUND),
        max((part.get("staging_bytes", 0) for part in parts), default=0),
        tuple(sorted({_stored_as(state) for state in states})),
        found["constants"].get("get_max_context_len"),
    )


def _stored_as(state: Mapping[str, Any]) -> str:
    packing: str = state["packing"]
    if packing != "words":
        return _PACKINGS.get(packing, packing)
    return "f32" if state["tensor"].removeprefix("weight ").startswith("f") else "i32"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(count: int) -> str:
    size, units = float(count), ["bytes", "KB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"
