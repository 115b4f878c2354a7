"""Prefill and decode speed of a language model's delegate, through the C interface alone.

    python benchmarks/decoder.py model.pte                      # a real export
    python benchmarks/decoder.py model.pte --skeleton m.zip     # keep its graph, drop its weights
    python benchmarks/decoder.py m.zip --profile                # run the graph with made-up weights
    python benchmarks/decoder.py m.zip --peak-bandwidth 4800 --peak-tflops 67 --json result.json

Speed does not depend on the weights' values. Provider and adapter come from the environment
(ETWEBGPU_PROVIDER, ETWEBGPU_ADAPTER). benchmarks/shapes.py makes skeletons of larger models.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from executorch_webgpu.bench import measure
from executorch_webgpu.native import library
from executorch_webgpu.report import Peaks, Report, Timings, Work, times_by_kernel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from skeleton import Skeleton
from support.capi import Model

# An H200's clock takes seconds to rise from idle.
WARM_SECONDS = 1.5

# Calls after the timed ones whose time on the host is asked for, part by part.
_EXAMINED = 5

# A decode step is timed at so many positions, from the one that is reported on.
_NEARBY = 32

LOGITS = "decode, logits"  # the name of decoding with the logits read back and the token sent

_FIRST_PROMPT = 128

# What may follow a provider's name, as in dawn+f16, and how it is set.
PROVIDER_OPTIONS = {"f16": ("ETWEBGPU_MATMUL_DTYPE", "f16"), "trusted": ("ETWEBGPU_TRUSTED", "1")}

_SETTINGS = (
    "ETWEBGPU_PROVIDER",
    "ETWEBGPU_ADAPTER",
    "ETWEBGPU_KV_CACHE_DTYPE",
    *(key for key, _ in PROVIDER_OPTIONS.values()),
)

Call = Callable[[int, int], object]

# Name, length, and the (tokens, position) of each call. For "decode", which is greedy with the
# tokens kept on the GPU, the (tokens to generate, position to start from) of each run.
Task = tuple[str, int, list[tuple[int, int]]]


def measure_calls(
    name: str, tokens: int, call: Call, arguments: Sequence[tuple[int, int]], model: Model
) -> Timings:
    """Time call(tokens, position) for each of `arguments`, after some that warm up."""
    timings = measure(name, tokens, call, arguments, WARM_SECONDS)
    host, dispatches = _examine(call, arguments[:_EXAMINED], model)
    return replace(timings, dispatches=dispatches, host_microseconds=host)


def measure_generation(tokens: int, arguments: Sequence[tuple[int, int]], model: Model) -> Timings:
    """Time greedy decoding, (_NEARBY, position) for each run: seconds of a token in each."""

    def generate(count: int, position: int) -> None:
        model.generate(1, position, count)

    timings = measure("decode", tokens, generate, arguments, WARM_SECONDS, steps=_NEARBY)
    profile = model.profile()
    # and the choice
    dispatches = profile["dispatch_count"] + 1
    return replace(timings, dispatches=dispatches, host_microseconds=profile["host_microseconds"])


def _examine(
    call: Call, arguments: Sequence[tuple[int, int]], model: Model
) -> tuple[dict[str, float], int]:
    """Median microseconds on the host by part, and the dispatches of a call."""
    parts: dict[str, list[float]] = defaultdict(list)
    for argument in arguments:
        call(*argument)
        profile = model.profile()
        for part, microseconds in profile["host_microseconds"].items():
            parts[part].append(microseconds)
    host = {part: statistics.median(found) for part, found in parts.items()}
    return host, profile["dispatch_count"]


def print_profile(model: Model) -> None:
    """GPU time of the last run by call and kernel; needs ETWEBGPU_PROFILING=1."""
    totals = times_by_kernel([model.profile()])
    for name, times in sorted(totals.items(), key=lambda item: -sum(item[1])):
        print(f"    {sum(times):9.1f} us in {len(times):4} dispatches of {name}")


def selected_adapter() -> dict[str, Any]:
    """Name, driver and provider of the adapter in use."""
    return library().devices().get("selected") or {}


def lengths(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(part) for part in text.split(",") if part]


def main(
    model: Annotated[Path, typer.Argument(help="A .pte, or a skeleton made from one.")],
    skeleton: Annotated[Path | None, typer.Option(help="Write the skeleton here and stop.")] = None,
    prefill: Annotated[str, typer.Option(help="Prompt lengths.")] = "128,512,2047",
    contexts: Annotated[str, typer.Option(help="Positions to decode at.")] = "0,128,2000",
    prefills: Annotated[int, typer.Option(min=1, help="Repetitions of each prompt.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Decode steps at each position.")] = 320,
    profile: Annotated[bool, typer.Option(help="Print GPU time per kernel.")] = False,
    peak_bandwidth: Annotated[float | None, typer.Option(help="The memory's GB/s.")] = None,
    peak_tflops: Annotated[float | None, typer.Option(help="The adapter's TFLOP/s.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write results here.")] = None,
) -> None:
    """Time prefill and decode of a delegate (tokens [1, S], position [1]) -> logits.

    Decoding is greedy with the tokens kept on the GPU, and once more with the logits read back.
    """
    found = Skeleton.load(model) if model.suffix == ".zip" else Skeleton.of_program(model)
    if skeleton:
        found.save(skeleton)
        return
    tasks = [("prefill", count, [(count, 0)] * prefills) for count in lengths(prefill)]
    # Positions differ as they do in use, but stay near the one that is reported.
    for at in lengths(contexts):
        tasks.append(("decode", at, [(_NEARBY, at)] * max(1, steps // _NEARBY)))
        tasks.append((LOGITS, at, [(1, at + i % _NEARBY) for i in range(steps)]))
    report = run(found, tasks, profile)
    report = replace(report, model=model.name, peaks=Peaks(peak_bandwidth, peak_tflops))
    print(report.to_markdown())
    if json_file:
        json_file.write_text(json.dumps(report.to_json(), indent=1))


def run(skeleton: Skeleton, tasks: Sequence[Task], profile: bool) -> Report:
    """Load a skeleton with made-up weights and measure each task, printing profiles if asked."""
    torch.set_num_threads(1)  # else its threads wait busily, and count as ours
    adapter = selected_adapter()
    weights = skeleton.made_up_weights()
    start = time.perf_counter()
    model = Model(skeleton.blob, weights, skeleton.output_bytes)
    load_seconds = time.perf_counter() - start
    tokens = torch.randint(0, 1000, (1, 8192))

    def call(count: int, position: int) -> None:
        model.run(tokens[:, :count].contiguous(), torch.tensor([position]))

    first_prompt = min([_FIRST_PROMPT, *(length for name, length, _ in tasks if name == "prefill")])
    start = time.perf_counter()
    call(first_prompt, 0)
    first_token_seconds = time.perf_counter() - start
    timings = []
    for name, length, arguments in tasks:
        if name == "decode":
            timings.append(measure_generation(length, arguments, model))
        else:
            timings.append(measure_calls(name, length, call, arguments, model))
        if profile:
            print_profile(model)
    return Report(
        "",
        adapter.get("name", "no adapter"),
        load_seconds,
        first_prompt,
        first_token_seconds,
        timings,
        provider=_provider(adapter),
        driver=adapter.get("driver"),
        command=_command(),
        gpu_bytes=model.profile()["gpu_bytes"],
        work=_work(skeleton),
    )


def _provider(adapter: dict[str, Any]) -> str | None:
    """The provider, with the options that are set."""
    name: str | None = adapter.get("provider")
    chosen = [
        option for option, (key, value) in PROVIDER_OPTIONS.items() if os.environ.get(key) == value
    ]
    return "+".join([name, *chosen]) if name else None


def _work(skeleton: Skeleton) -> Work | None:
    half = os.environ.get("ETWEBGPU_KV_CACHE_DTYPE") == "f16"
    work = skeleton.work
    return replace(work, cache_bytes=work.cache_bytes // 2) if work and half else work


def _command() -> str:
    """What was run, without where the results went."""
    arguments = sys.argv[1:]
    if "--json" in arguments:
        at = arguments.index("--json")
        del arguments[at : at + 2]
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k in _SETTINGS]
    return shlex.join([*settings, "python", "benchmarks/decoder.py", *arguments])


if __name__ == "__main__":
    typer.run(main)
