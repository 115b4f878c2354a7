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
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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
    """Milliseconds of a call: the median and the least.

    `gpu_bytes` are those of the model's own buffers, `device_bytes` what the device has in use
    since the process began, its driver's own memory included.
    """

    network: str
    system: str
    median: float
    least: float
    gpu_bytes: int | None = None
    device_bytes: int | None = None

    def to_markdown(self) -> str:
        """A line of a table."""
        own, device = (
            "" if count is None else f"{count / 1e6:.0f}"
            for count in (self.gpu_bytes, self.device_bytes)
        )
        times = f"{self.median:.3f} | {self.least:.3f}"
        return f"| {self.network} | {self.system} | {times} | {own} | {device} |"


def device_bytes_in_use() -> int | None:
    """Of the whole device, by whatever process; None without NVIDIA's tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    text = subprocess.run([tool, *query], capture_output=True, text=True, check=True).stdout
    return int(text) << 20


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
            lower_program(torch.export.export(module(name), INPUTS[name]())).save(str(program))
            Skeleton.of_program(program).save(folder / f"{name}.zip")
            print(f"{name}: {program.stat().st_size / 1e6:.1f} MB", flush=True)


class Meter:
    """Times calls in a process that has not used the device before."""

    def __init__(self, repetitions: int) -> None:
        self._repetitions = repetitions
        self._before = device_bytes_in_use()

    def row(self, network: str, system: str, call: Callable[[], object]) -> Row:
        """Of a warm call, while what it calls is still on the device."""
        started = time.perf_counter()
        while time.perf_counter() - started < WARM_SECONDS:
            call()
        seconds = []
        for _ in range(self._repetitions):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        now = device_bytes_in_use()
        used = None if now is None or self._before is None else now - self._before
        median, least = 1e3 * statistics.median(seconds), 1e3 * min(seconds)
        return Row(network, system, median, least, device_bytes=used)


def ours(skeleton: Path, system: str, meter: Meter) -> Row:
    """Time a skeleton."""
    found = Skeleton.load(skeleton)
    model = Model(found.blob, found.made_up_weights(), found.output_bytes)
    inputs = INPUTS[skeleton.stem]()
    row = meter.row(skeleton.stem, system, lambda: model.run(*inputs))
    if os.environ.get("ETWEBGPU_PROFILING") == "1":
        print_profile(model)
    return replace(row, gpu_bytes=model.profile()["gpu_bytes"])


def onnx_runtime(name: str, folder: Path, meter: Meter) -> Row:
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
    system = f"onnxruntime-webgpu {onnxruntime.__version__}"
    return meter.row(name, system, lambda: session.run(None, feed))


def cuda_graph(name: str, folder: Path, meter: Meter) -> Row:
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

    return meter.row(name, "torch, CUDA graph", replay)


PEERS: dict[str, Callable[[str, Path, Meter], Row]] = {
    "onnxruntime": onnx_runtime,
    "cuda": cuda_graph,
}


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
    print("| network | system | median ms | least ms | own MB | device MB |")
    print("|---|---|---:|---:|---:|---:|")
    for name in names or INPUTS:
        for system in [*providers.split(","), *(PEERS if peers else [])]:
            for row in _in_own_process(folder, name, system, repetitions):
                rows.append(row)
                print(row.to_markdown(), flush=True)
    if json_file:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _in_own_process(folder: Path, name: str, system: str, repetitions: int) -> list[Row]:
    environment = dict(os.environ)
    if system not in PEERS:
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
    """Time one network through one system and print a line of JSON; a peer that fails, why."""
    torch.set_num_threads(1)  # else its threads wait busily
    meter = Meter(repetitions)
    if system not in PEERS:
        row = ours(folder / f"{name}.zip", system, meter)
    else:
        try:
            row = PEERS[system](name, folder, meter)
        except Exception as error:  # whatever they raise
            print(f"{system}, {name}: {str(error).splitlines()[0]}", file=sys.stderr)
            return
    print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    app()
