"""Our speed through each provider beside llama.cpp's, on one machine in one go.

    python benchmarks/compare.py 1b 1b.zip --llama-bench llama/llama-bench --json 1b.json
    python benchmarks/compare.py 1b 1b.zip --llama-bench \\
        "sid/ld-linux-x86-64.so.2 --library-path sid:/usr/lib/x86_64-linux-gnu sid/llama-bench"

Both run decoders of the same sizes with 4-bit weights in groups of 32 and the same lengths: ours a
skeleton (benchmarks/shapes.py), llama.cpp a GGUF with made-up Q4_0 weights, which is written first
if there is none (needs the PyPI package gguf). Ours decodes at 32 positions from the one named;
llama.cpp generates as many tokens from there on.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from decoder import PROVIDER_OPTIONS
from executorch_webgpu.report import Report, Timings, comparison
from sizes import SHAPES, Size

GENERATED = 32

# llama-bench warms up with one call only. With so many times our repetitions its median is of a
# warm GPU too.
_LLAMA_REPETITIONS = 5

Words = Sequence[str]


@dataclass(frozen=True)
class Lengths:
    """What to measure: prompt lengths and positions to decode at, with commas between them."""

    prefill: str
    contexts: str


def read_llama_bench(
    rows: Sequence[Mapping[str, Any]], command: str, system: str = "llama.cpp"
) -> Report:
    """A report of what `llama-bench -o json` printed, all runs together.

    A test of llama-bench is prefill of n_prompt tokens or decoding of n_gen tokens, whose mean time
    counts as one call's, after n_depth others. It warms up once.
    """
    timings = []
    for row in rows:
        decoded = row["n_gen"]
        name, tokens = ("decode", row["n_depth"]) if decoded else ("prefill", row["n_prompt"])
        seconds = [sample / 1e9 / (decoded or 1) for sample in row["samples_ns"]]
        timings.append(Timings(name, tokens, seconds, warmups=1))
    first = rows[0]
    device = first["gpu_info"] if first["gpu_info"] and first["n_gpu_layers"] else first["cpu_info"]
    model = Path(first["model_filename"]).name
    backend = first["backends"].lower() if first["n_gpu_layers"] else "cpu"
    build = f"build {first['build_number']} ({first['build_commit']})"
    return Report(model, device, None, None, None, timings, system, backend, build, command=command)


def run_llama_bench(command: Words, gguf: Path, lengths: Lengths, options: Words) -> Report:
    """Run llama-bench at all lengths."""
    common = [*command, "-m", str(gguf), "-fa", "1", *options, "-o", "json"]
    runs = [
        [*common, "-p", lengths.prefill, "-n", "0"],
        [*common, "-p", "0", "-n", str(GENERATED), "-d", lengths.contexts],
    ]
    rows = [row for run in runs for row in json.loads(_output(run))]
    return read_llama_bench(rows, " && ".join(map(shlex.join, runs)))


def run_decoder(skeleton: Path, provider: str, lengths: Lengths, options: Words) -> Report:
    """Run benchmarks/decoder.py with one provider, in a process of its own.

    "dawn+f16+trusted" is Dawn with the options matmul_dtype f16 and trusted.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, str(Path(__file__).with_name("decoder.py")), str(skeleton)]
        command += ["--prefill", lengths.prefill, "--contexts", lengths.contexts, *options]
        name, *chosen = provider.split("+")
        settings = {"ETWEBGPU_PROVIDER": name}
        for option in chosen:
            if option not in PROVIDER_OPTIONS:
                known = ", ".join(PROVIDER_OPTIONS)
                raise typer.BadParameter(f"{provider}: +{option} is none of {known}")
            key, value = PROVIDER_OPTIONS[option]
            settings[key] = value
        _output([*command, "--json", str(result)], settings)
        return Report.from_json(json.loads(result.read_text()))


def markdown(reports: Sequence[Report], command: str) -> str:
    """The comparison, then each system by itself."""
    lines = [f"`{command}`", "", comparison(reports)]
    for report in reports:
        lines += ["", report.to_markdown(), "", f"`{report.command}`"]
    return "\n".join(lines)


def main(
    size: Annotated[Size, typer.Argument(help="Size of the model.")],
    skeleton: Annotated[Path, typer.Argument(help="Its skeleton, by benchmarks/shapes.py.")],
    llama_bench: Annotated[
        str, typer.Option(help="The command llama-bench; without it, ours alone.")
    ] = "",
    gguf: Annotated[
        Path | None, typer.Option(help="llama.cpp's model; made if missing, as SIZE.gguf.")
    ] = None,
    providers: Annotated[
        str, typer.Option(help="Ours to measure, with options: dawn+f16, dawn+trusted.")
    ] = "dawn,wgpu-native",
    prefill: Annotated[str, typer.Option(help="Prompt lengths.")] = "128,512,2048",
    contexts: Annotated[str, typer.Option(help="Positions to decode at.")] = "128,2048",
    layers_on_gpu: Annotated[int, typer.Option(help="llama.cpp's -ngl; 0 for its CPU.")] = 99,
    repetitions: Annotated[
        int, typer.Option(min=1, help="Of prompts; five times for llama.cpp.")
    ] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Our decode steps.")] = 96,
    peak_bandwidth: Annotated[float | None, typer.Option(help="The memory's GB/s.")] = None,
    peak_tflops: Annotated[float | None, typer.Option(help="The adapter's TFLOP/s.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write results here.")] = None,
) -> None:
    """Measure ours and llama.cpp and print both side by side."""
    lengths = Lengths(prefill, contexts)
    options = ["--prefills", str(repetitions), "--steps", str(steps)]
    options += ["--peak-bandwidth", str(peak_bandwidth)] if peak_bandwidth else []
    options += ["--peak-tflops", str(peak_tflops)] if peak_tflops else []
    reports = [
        run_decoder(skeleton, provider, lengths, options)
        for provider in providers.split(",")
        if provider
    ]
    if llama_bench:
        model = gguf or Path(f"{size}.gguf")
        if not model.is_file():
            from made_up_gguf import write_gguf

            write_gguf(model, SHAPES[size])
        options = ["-ngl", str(layers_on_gpu), "-r", str(_LLAMA_REPETITIONS * repetitions)]
        reports.append(run_llama_bench(shlex.split(llama_bench), model, lengths, options))
    command = shlex.join(["python", "benchmarks/compare.py", *sys.argv[1:]])
    print(markdown(reports, command))
    if json_file:
        found = {"command": command, "reports": [report.to_json() for report in reports]}
        json_file.write_text(json.dumps(found, indent=1))


def _output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    print(f"running {shlex.join(command)}", file=sys.stderr, flush=True)
    settings = os.environ | dict(environment or {})
    return subprocess.run(
        command, env=settings, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    typer.run(main)
