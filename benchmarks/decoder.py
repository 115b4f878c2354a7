"""Prefill and decode speed of a language model's delegate, through the C interface alone.

    python benchmarks/decoder.py model.pte                      # a real export
    python benchmarks/decoder.py model.pte --skeleton m.zip     # keep its graph, drop its weights
    python benchmarks/decoder.py m.zip --profile                # run the graph with made-up weights

A skeleton is the delegate's graph and the sizes of its constants: a few KB that travel to any
machine. Speed does not depend on the weights' values. Provider and adapter come from the
environment (ETWEBGPU_PROVIDER, ETWEBGPU_ADAPTER).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from skeleton import Skeleton
from support.capi import Model


def timed(work: Callable[[int], object], repetitions: int) -> list[float]:
    """Seconds of each repetition, after two that warm up; sorted."""
    seconds = []
    for i in range(-2, repetitions):
        start = time.perf_counter()
        work(i)
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def line(what: str, tokens: int, seconds: list[float]) -> None:
    median = statistics.median(seconds)
    print(
        f"| {what} | {tokens / median:,.0f} | {median * 1e3:.3f} | {seconds[0] * 1e3:.3f} "
        f"| {seconds[-1] * 1e3:.3f} |",
        flush=True,
    )


def print_profile(model: Model) -> None:
    """GPU time of the last run by call and kernel; needs ETWEBGPU_PROFILING=1."""
    totals: dict[str, list[float]] = defaultdict(list)
    for dispatch in model.profile()["dispatches"]:
        kernel = dispatch["kernel"].partition("[")[0]
        totals[f"{dispatch['call']} {kernel}"].append(dispatch.get("microseconds", 0.0))
    for name, times in sorted(totals.items(), key=lambda item: -sum(item[1])):
        print(f"    {sum(times):9.1f} us in {len(times):4} dispatches of {name}")


def main(
    model: Annotated[Path, typer.Argument(help="A .pte, or a skeleton made from one.")],
    skeleton: Annotated[Path | None, typer.Option(help="Write the skeleton here and stop.")] = None,
    prefill: Annotated[str, typer.Option(help="Prompt lengths.")] = "128,512,2047",
    contexts: Annotated[str, typer.Option(help="Positions to decode at.")] = "0,128,2000",
    profile: Annotated[bool, typer.Option(help="Print GPU time per kernel.")] = False,
) -> None:
    """Time prefill and decode of a delegate (tokens [1, S], position [1]) -> logits."""
    found = Skeleton.load(model) if model.suffix == ".zip" else Skeleton.of_program(model)
    if skeleton:
        found.save(skeleton)
        return
    start = time.perf_counter()
    loaded = Model(found.blob, found.made_up_weights(), found.output_bytes)
    print(f"load with made-up weights: {time.perf_counter() - start:.2f} s\n")
    tokens = torch.randint(0, 1000, (1, 8192))

    def run(count: int, position: int) -> None:
        loaded.run(tokens[:, :count].contiguous(), torch.tensor([position]))

    print("| what | tok/s | median ms | best | worst |\n| --- | --- | --- | --- | --- |")
    for count in map(int, prefill.split(",")):
        line(f"prefill {count}", count, timed(lambda _, n=count: run(n, 0), 10))
    if profile:
        print_profile(loaded)
    for at in map(int, contexts.split(",")):
        line(f"decode at {at}", 1, timed(lambda i, p=at: run(1, p + i % 32 + 2), 100))
    if profile:
        print_profile(loaded)


if __name__ == "__main__":
    typer.run(main)
