"""Six vision and text networks, batch 1, inputs given and outputs read on the host.

    python benchmarks/networks.py write nets     # exports; needs torchvision and transformers
    python benchmarks/networks.py time nets --peers --json networks.json

The first writes skeletons, whose weights are made up on any machine; the second times them through
each provider named. Its peers, each where it is installed: ONNX Runtime's WebGPU provider (PyPI
onnxruntime-webgpu, and onnxscript to export), and torch on CUDA in f32 without TF32, replaying a
graph. Networks are untrained, which makes no difference to speed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from skeleton import Skeleton

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))

from decoder import PROVIDER_OPTIONS, WARM_SECONDS, print_profile
from support.capi import Model

_REPETITIONS = 60
_TOKENS = 128

app = typer.Typer(pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Row:
    """Milliseconds of a call: the median and the least."""

    network: str
    system: str
    median: float
    least: float
    gpu_bytes: int | None = None

    def to_markdown(self) -> str:
        """A line of a table."""
        memory = "" if self.gpu_bytes is None else f"{self.gpu_bytes / 1e6:.0f}"
        return (
            f"| {self.network} | {self.system} | {self.median:.3f} | {self.least:.3f} | {memory} |"
        )


def _image() -> tuple[torch.Tensor, ...]:
    return (torch.randn(1, 3, 224, 224),)


def _text() -> tuple[torch.Tensor, ...]:
    return torch.randint(0, 1000, (1, _TOKENS)), torch.ones(1, _TOKENS, dtype=torch.long)


INPUTS: dict[str, Callable[[], tuple[torch.Tensor, ...]]] = {
    "mobilenet_v2": _image,
    "resnet18": _image,
    "resnet50": _image,
    "efficientnet_b0": _image,
    "vit_b_16": _image,
    "minilm_l6": _text,
}


def module(name: str) -> torch.nn.Module:
    """The untrained network."""
    torch.manual_seed(0)
    if name != "minilm_l6":
        import torchvision

        made: torch.nn.Module = getattr(torchvision.models, name)(weights=None)
        return made.eval()
    import transformers

    config = transformers.BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        attn_implementation="eager",
    )

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = transformers.BertModel(config, add_pooling_layer=False)

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state
            return found

    return Encoder().eval()


@app.command()
def write(folder: Path, names: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Export networks, all unless named, and write their skeletons."""
    from executorch_webgpu.lowering import lower_program, quiet_upstream

    folder.mkdir(parents=True, exist_ok=True)
    with quiet_upstream():
        for name in names or INPUTS:
            program = folder / f"{name}.pte"
            lower_program(torch.export.export(module(name), INPUTS[name]())).save(program)
            Skeleton.of_program(program).save(folder / f"{name}.zip")
            print(f"{name}: {program.stat().st_size / 1e6:.1f} MB", flush=True)


def milliseconds(call: Callable[[], object], repetitions: int) -> tuple[float, float]:
    """The median and the least of a warm call."""
    started = time.perf_counter()
    while time.perf_counter() - started < WARM_SECONDS:
        call()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds), 1e3 * min(seconds)


def ours(skeleton: Path, system: str, repetitions: int) -> Row:
    """Time a skeleton."""
    found = Skeleton.load(skeleton)
    model = Model(found.blob, found.made_up_weights(), found.output_bytes)
    inputs = INPUTS[skeleton.stem]()
    times = milliseconds(lambda: model.run(*inputs), repetitions)
    if os.environ.get("ETWEBGPU_PROFILING") == "1":
        print_profile(model)
    return Row(skeleton.stem, system, *times, model.profile()["gpu_bytes"])


def onnx_runtime(name: str, folder: Path, repetitions: int) -> Row:
    """Time ONNX Runtime's WebGPU provider."""
    import onnxruntime

    path = folder / f"{name}.onnx"
    inputs = INPUTS[name]()
    if not path.exists():
        with torch.no_grad():
            torch.onnx.export(
                module(name), inputs, str(path), dynamo=True, external_data=False, verbose=False
            )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["WebGpuExecutionProvider", "CPUExecutionProvider"]
    )
    feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    times = milliseconds(lambda: session.run(None, feed), repetitions)
    return Row(name, f"onnxruntime-webgpu {onnxruntime.__version__}", *times)


def cuda_graph(name: str, folder: Path, repetitions: int) -> Row:
    """Time torch on CUDA in f32: a graph replayed, inputs and outputs on the device."""
    del folder
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    network = module(name).cuda()
    inputs = tuple(x.cuda() for x in INPUTS[name]())
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(3):
                network(*inputs)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            network(*inputs)

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return Row(name, "torch, CUDA graph", *milliseconds(replay, repetitions))


def peer_rows(name: str, folder: Path, repetitions: int) -> Iterator[Row]:
    """What peers take; one that is not installed, or fails, says so in a line."""
    for peer in (onnx_runtime, cuda_graph):
        try:
            yield peer(name, folder, repetitions)
        except Exception as error:  # whatever they raise, ours goes on
            print(f"{peer.__name__}, {name}: {str(error).splitlines()[0]}", file=sys.stderr)


@app.command("time")
def time_networks(
    folder: Path,
    names: Annotated[list[str] | None, typer.Argument()] = None,
    providers: Annotated[str, typer.Option(help="With commas; dawn+f16 is with f16.")] = "dawn",
    peers: Annotated[bool, typer.Option(help="Time others, too.")] = False,
    repetitions: Annotated[int, typer.Option(min=1)] = _REPETITIONS,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write results here.")] = None,
) -> None:
    """Time networks, all unless named, each system in a process of its own."""
    rows = []
    print("| network | system | median ms | least ms | GPU MB |\n|---|---|---:|---:|---:|")
    for name in names or INPUTS:
        for system in [*providers.split(","), *(["peers"] if peers else [])]:
            for row in _in_own_process(folder, name, system, repetitions):
                rows.append(row)
                print(row.to_markdown(), flush=True)
    if json_file:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _in_own_process(folder: Path, name: str, system: str, repetitions: int) -> list[Row]:
    environment = dict(os.environ)
    if system != "peers":
        provider, *chosen = system.split("+")
        environment["ETWEBGPU_PROVIDER"] = provider
        environment.update(PROVIDER_OPTIONS[option] for option in chosen)
    command = [sys.executable, __file__, "one", str(folder), name, system, str(repetitions)]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    found = []
    for line in ran.stdout.splitlines():
        if line.startswith("{"):
            found.append(Row(**json.loads(line)))
        else:
            print(line)
    return found


@app.command(hidden=True)
def one(folder: Path, name: str, system: str, repetitions: int) -> None:
    """Time one network through one system, or its peers; prints a line of JSON for each."""
    torch.set_num_threads(1)  # else its threads wait busily
    if system == "peers":
        rows = peer_rows(name, folder, repetitions)
    else:
        rows = iter([ours(folder / f"{name}.zip", system, repetitions)])
    for row in rows:
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    app()
