"""The command ``executorch-webgpu``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from .errors import WebGPUError, WebGPUWarning
from .files import cached_smollm2, check_file, check_program, data_file_list, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from .pictures import Preparing
    from .runtime import Model

# Without a terminal there is no width to fit: tables are for grep then.
_output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
_notes = Console(stderr=True, highlight=False, soft_wrap=True)


class _OneSentenceErrors(TyperGroup):
    """Failures are one sentence on stderr and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with _only_notes_on_stderr():
                return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads has seen enough, as `head` does
            _discard_output()
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except (WebGPUError, OSError, MemoryError) as error:
            _fail(_sentence(error))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


@contextmanager
def _only_notes_on_stderr() -> Iterator[None]:
    """Hide what ExecuTorch logs by way of sys.stderr: what matters is in our one sentence, and in
    our warnings, which are a sentence each.

    ETWEBGPU_LOG=1 shows it.
    """
    if os.environ.get("ETWEBGPU_LOG"):
        yield
        return
    _notes.file = sys.stderr
    try:
        with open(os.devnull, "w") as nothing, redirect_stderr(nothing), _warnings_as_notes():
            yield
    finally:
        # Back to whatever sys.stderr is.
        _notes.file = None  # type: ignore[assignment]


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if isinstance(message, WebGPUWarning):
            _notes.print(f"[yellow]{escape(str(message))}[/]")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


app = typer.Typer(
    cls=_OneSentenceErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run ExecuTorch programs on the GPU through WebGPU.",
)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.pte", help="The program.")]
DataFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="FILE.ptd",
        help="Its weights, if outside of it; once for each file, or the folder of all.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PeakBandwidth = Annotated[
    float | None, typer.Option(min=0.001, help="The memory's GB/s, to report what share is used.")
]
PeakTflops = Annotated[
    float | None,
    typer.Option(min=0.001, help="The adapter's TFLOP/s, to report what share is used."),
]


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except Exception as error:
        if os.environ.get("ETWEBGPU_TRACEBACK"):
            raise
        _notes.print(
            f"[red]error:[/] unexpected {type(error).__name__}: {escape(_sentence(error))} "
            "(set ETWEBGPU_TRACEBACK=1 to see where)"
        )
        sys.exit(1)


class _Bits(StrEnum):
    """What weights are to be, as the command line has it."""

    FILE = "file"
    FOUR = "4"
    EIGHT = "8"
    FLOAT = "float"


@app.command("export", no_args_is_help=True)
def export_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A GGUF file, a folder of config.json, safetensors and tokenizer, or smollm2.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The program to write; SOURCE's name if left out.",
        ),
    ] = None,
    context: Annotated[
        int, typer.Option(min=2, max=131072, help="Tokens that a conversation can hold.")
    ] = 2048,
    full_logits: Annotated[
        bool, typer.Option("--full-logits", help="Give logits of every token, not of the last.")
    ] = False,
    bits: Annotated[
        _Bits | None,
        typer.Option(
            help="Of weights. file: as the file has them where a program can, else the nearest; 4 "
            "of floats. The default, but for smollm2, which has 4."
        ),
    ] = None,
    group_size: Annotated[
        int, typer.Option(min=8, help="Weights that share one quantization scale.")
    ] = 32,
    calibration: Annotated[
        bool | None,
        typer.Option(
            "--calibration/--no-calibration",
            help="Choose scales by what layers see in sample conversations; for models of up to 2 "
            "billion weights if left out.",
        ),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Keep only the first layers (for tests).")
    ] = None,
) -> None:
    """Make a program (.pte) of a language model, and its tokenizer beside it.

    Says which weights are kept as they are, and by how much others change.
    """
    target = output or Path(f"{Path(source).resolve().name.removesuffix('.gguf')}.pte")
    if target.is_dir():
        raise WebGPUError(f"{target} is a folder, not a file to write")
    make_folder(target.parent)  # now, rather than after minutes of work
    with _stages() as progress:
        progress("Importing torch", 0, 0)
        from .decoders.export import Recipe, export
        from .decoders.weights import Bits

        widths: dict[_Bits | None, Bits] = {_Bits.FOUR: 4, _Bits.EIGHT: 8, _Bits.FLOAT: 32}
        recipe = Recipe(context, group_size, full_logits, calibration, widths.get(bits), layers)
        notes = export(source, target, recipe, progress)
    for note in notes:
        _notes.print(escape(note), highlight=False)
    _notes.print(f"Wrote {target} ({target.stat().st_size / 1e6:.0f} MB).")


@app.command()
def chat(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL.pte", help="A chat model; SmolLM2 is exported once if left out."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Answer this and quit.")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A picture that the first message is about; may be repeated."
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions for the whole conversation.")
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON list of functions that the model may ask for."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.")
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End an answer before this text; may be repeated."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 for the likeliest token; higher for more variety.")
    ] = 0.0,
    top_k: Annotated[
        int, typer.Option(min=0, help="Choose among so many likeliest tokens; 0 for all.")
    ] = 40,
    top_p: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Of these, the fewest with so much probability."),
    ] = 1.0,
    min_p: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Of these, those with so much of the likeliest's."),
    ] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option(min=0.01, help="Above 1 makes tokens that were there less likely.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="For the same choices every time.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the conversation here as it goes.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with a conversation that was saved.")
    ] = None,
    show_thinking: Annotated[
        bool, typer.Option("--show-thinking", help="Show what a model thinks before it answers.")
    ] = False,
    data: DataFiles = None,
) -> None:
    """Talk with a model. Ctrl-C stops an answer; at the prompt it quits, as Ctrl-D and /exit do.

    /clear starts the conversation over, /image FILE shows a picture that the next message is
    about, and /tool TEXT is what a function answers that the model has asked for. Without a
    terminal, every line of stdin is a message or one of these commands.
    """
    from .chat import Conversation
    from .generate import Sampler
    from .parts import DecoderInParts, load_decoder
    from .saved_chat import check_can_save
    from .saved_chat import load as load_conversation
    from .seeing import SeeingTokenizer
    from .talk import Talk, lines, read_tools
    from .tokenizer import ChatTokenizer

    if "" in (stop or ()):
        raise WebGPUError("--stop is an empty text, before which every answer would end")
    if system is not None and load is not None:
        raise WebGPUError("--system and --load: a saved conversation has its own instructions")
    if save is not None:
        check_can_save(save)
    path = model or _cached_smollm2()
    check_program(path)
    functions = read_tools(tools)
    _tell_memory(path, data)
    # The program before its tokenizer: a truncated one should not be blamed on what lies beside it.
    with _notes.status(f"Loading {path.name}"):
        language_model = load_decoder(path, data)
    tokenizer = ChatTokenizer.load(path.parent)
    if language_model.vocabulary is not None and tokenizer.size > language_model.vocabulary:
        raise WebGPUError(
            f"the tokenizer beside {path.name} has {tokenizer.size} tokens, but the model "
            f"{language_model.vocabulary}: it is another model's"
        )
    if isinstance(language_model, DecoderInParts):
        tokenizer = SeeingTokenizer(tokenizer, language_model.image_token)
    stop_tokens = language_model.eos | ({tokenizer.eos} if tokenizer.eos is not None else set())
    sampler = Sampler(temperature, top_k, top_p, min_p, repetition_penalty, seed)
    conversation = Conversation(
        language_model,
        tokenizer,
        sampler,
        stop_tokens,
        system,
        continue_greedily=language_model.continue_greedily if sampler.takes_likeliest else None,
        stop_texts=stop or (),
        tools=functions,
    )
    if load is not None:
        load_conversation(load, conversation, tokenizer)
    see = language_model.see
    talk = Talk(conversation, tokenizer, _notes, see, max_tokens, save, show_thinking)
    for picture in image or ():
        talk.look_at(picture)
    if prompt is not None:
        talk.answer(prompt)
        return
    with _notes.status("Warming up"):
        language_model.warm_up()
    for line in lines(_notes):
        if line == "/exit":
            break
        with talk.explaining():
            talk.obey(line)


@app.command()
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MODEL.pte]...", help="Models to offer beside SmolLM2."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Their tokenizer.json, or its folder; else what lies beside each model.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of their classes, one a line; else the labels.txt beside each model.",
        ),
    ] = None,
    smollm2: Annotated[
        bool | None,
        typer.Option(
            "--smollm2/--no-smollm2",
            help="Offer SmolLM2, exporting it once; else only if it is there or alone.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; others see only this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8080,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    page: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The built page, if not the package's own.")
    ] = None,
    data: DataFiles = None,
) -> None:
    """Serve the page that runs models in the browser, and models for it. Ctrl-C ends it."""
    from .serve import ServedModel, find_page, is_loopback
    from .serve import serve as run_server

    folder = find_page(page)
    if data and len(models or []) != 1:
        raise WebGPUError("--data belongs to one model: serve that model alone")
    offered = [
        ServedModel.find(path, None, _files_of(data), tokenizer, labels) for path in models or []
    ]
    if smollm2 or (smollm2 is None and (not models or cached_smollm2().is_file())):
        offered.insert(0, ServedModel.find(_cached_smollm2(), "SmolLM2-135M-Instruct"))

    def started(url: str) -> None:
        names = ", ".join(model.name for model in offered) or "no models"
        _output.print(f"{url} serves {escape(names)}. Ctrl-C ends it.")
        if not is_loopback(host):
            _notes.print(
                "[yellow]Whoever reaches this address can read the models. Browsers on other "
                "machines have WebGPU over https only.[/]"
            )
        if open_page:
            typer.launch(url)

    run_server(folder, offered, host, port, started)


@app.command()
def run(
    model: ModelFile,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="An input, an array (.npy) or a picture; once for each, in order.",
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="The method to run.")] = "forward",
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels a side of pictures; the model's own if left out."),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of pixels in [0, 1]; ImageNet's.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of pixels in [0, 1]; ImageNet's.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Names of the classes, a line each: shows the likeliest."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write outputs there as output_0.npy and so on."),
    ] = None,
    data: DataFiles = None,
) -> None:
    """Run one method of a program and print or save its outputs."""
    check_program(model)
    if output_dir is not None:
        make_folder(output_dir)
    from .pictures import Preparing, likeliest, load_labels
    from .runtime import load

    names = load_labels(labels) if labels else None
    preparing = Preparing.of_words(size, mean, std)
    _tell_memory(model, data)
    program = load(model, data)
    tensors = [
        _load_input(path, preparing, method, i, program) for i, path in enumerate(inputs or [])
    ]
    program.import_kernels()
    for i, value in enumerate(program.execute(method, tensors)):
        _output.print(f"output {i}: {_summary(value)}")
        if output_dir is not None:
            _save_array(output_dir / f"output_{i}.npy", value)
        if names and i == 0:
            for name, chance in likeliest(value, names):
                _output.print(f"{chance:7.1%}  {name}", markup=False, highlight=False)


@app.command()
def inspect(
    model: ModelFile,
    as_json: AsJson = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show the dispatches.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Show weights and the memory plan.")
    ] = False,
    adapter: Annotated[
        str | None, typer.Option(help="Plan for this kind: discrete, integrated or software.")
    ] = None,
    kernel: Annotated[
        int | None,
        typer.Option(min=0, help="Print the WGSL of this dispatch of each plan, from 0, instead."),
    ] = None,
    data: DataFiles = None,
) -> None:
    """Show what is in a program: operators, weights, dispatches and memory. Needs no GPU."""
    from . import render
    from .runtime import inspect as inspect_program
    from .runtime import obstacles

    settings: dict[str, Any] = {"adapter": adapter} if adapter else {}
    settings |= {} if kernel is None else {"kernel": kernel}
    found = inspect_program(model, data, settings or None)
    if as_json:
        _print_json(found)
    elif kernel is not None:
        texts = render.kernel_texts(found, kernel)
        if not texts:
            raise WebGPUError(f"{model}: no plan has a dispatch {kernel}")
        _output.print("\n".join(texts), markup=False, highlight=False, soft_wrap=True)
        return
    else:
        hidden = [
            "graph",
            "bindings",
            "live",
            "capabilities",
            "covered_nodes",
            "kernel_index",
            "uniform_bytes",
        ]
        hidden += [] if plan else ["dispatches"]
        hidden += [] if memory else ["weights", "memory", "slots"]
        _output.print(render.document(found, hidden))
    for obstacle in obstacles(found):
        _notes.print(f"[yellow]{escape(obstacle)}[/]")


@app.command("check")
def check_here(model: ModelFile, as_json: AsJson = False, data: DataFiles = None) -> None:
    """Say whether a program can run here, what is missing and what memory it takes.

    Nothing is put on a GPU. The status is 1 if it cannot run.
    """
    from .check import check

    found = check(model, data)
    if as_json:
        _print_json(found.to_json())
    else:
        _output.print("\n".join(found.sentences()), markup=False, highlight=False, soft_wrap=True)
    if not found.runs:
        raise typer.Exit(1)


@app.command("compile")
def compile_ahead(
    model: ModelFile,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[METHOD:]1x16[,1]",
            help="Sizes of the inputs of calls to come, in order, - for recorded ones; once for "
            "each kind of call.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A method to compile; all if left out.")
    ] = None,
    limits: Annotated[
        str,
        typer.Option(
            metavar="default|adapter|FILE.json",
            help="Devices to compile for: any, this machine's adapter, or capabilities.",
        ),
    ] = "default",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="MODEL.etwg beside it if left out."),
    ] = None,
    data: DataFiles = None,
) -> None:
    """Plan a program ahead of time, for pages without the planner.

    One file has plans, kernels and weights as the GPU wants them.
    """
    check_program(model)
    from .compile import plan_program, write_compiled

    target = output or model.with_suffix(".etwg")
    with _notes.status(f"Planning {model.name}"):
        planned = plan_program(model, sizes or (), limits, method or (), _files_of(data))
    with _stages() as progress:
        compiled = write_compiled(planned, target, progress)
    _notes.print(
        f"Wrote {escape(str(target))} ({compiled.file_bytes / 1e6:.1f} MB, of which a page reads "
        f"{compiled.head_bytes / 1e3:.0f} KB before weights) for "
        f"{escape(', '.join(compiled.methods))}."
    )


@app.command()
def devices(as_json: AsJson = False) -> None:
    """List WebGPU implementations and adapters; an arrow marks the one in use."""
    from . import render
    from .runtime import devices as find_devices

    found = find_devices()
    if as_json:
        _print_json(found)
        return
    _output.print(render.devices(found))
    if problem := found.get("error"):
        _notes.print(f"[yellow]{escape(problem)}[/]")


@app.command()
def bench(
    model: ModelFile,
    repetitions: Annotated[int, typer.Option(min=1, help="Calls per measurement.")] = 5,
    method: Annotated[
        str | None,
        typer.Option(help="Measure calls of this method, with inputs as large as it takes."),
    ] = None,
    peak_bandwidth: PeakBandwidth = None,
    peak_tflops: PeakTflops = None,
    as_json: AsJson = False,
    data: DataFiles = None,
) -> None:
    """Measure a program: a language model's prefill and decode, or any other's calls."""
    check_program(model)
    from .bench import bench as measure_decoder
    from .bench import is_language_model
    from .bench_program import CallReport, bench_program
    from .report import Peaks, Report

    _tell_memory(model, data)
    report: Report | CallReport
    with _notes.status("Starting") as status:

        def tell(what: str) -> None:
            status.update(f"Measuring: {what}")

        if method is None and is_language_model(model, data):
            peaks = Peaks(peak_bandwidth, peak_tflops)
            report = measure_decoder(model, repetitions, _adapter_name(), tell, peaks, data)
        else:
            name = method or "forward"
            report = bench_program(model, name, repetitions, _adapter_name(), tell, data)
    if as_json:
        _print_json(report.to_json())
    else:
        _output.print(report.to_markdown(), markup=False)


def _tell_memory(model: Path, data: list[Path] | None) -> None:
    """What a language model will take, before any of it is taken."""
    from .bench import is_language_model
    from .check import memory_needed
    from .parts import is_in_parts

    if not is_language_model(model, data) and not is_in_parts(model, data):
        return
    memory = memory_needed(model, data)
    if memory.total:  # else it is refused, and loading says why
        _notes.print(f"{model.name} takes {memory.sentence()}.", markup=False)


def _files_of(data: list[Path] | None) -> list[Path]:
    """The .ptd files, those of folders among them."""
    return [
        file
        for path in data_file_list(data)
        for file in (sorted(path.glob("*.ptd")) if path.is_dir() else [path])
    ]


def _cached_smollm2() -> Path:
    """SmolLM2 in the cache folder, exported on first use."""
    path = cached_smollm2()
    if not path.is_file():
        _notes.print(f"Exporting SmolLM2 once, into {path.parent}. This takes a few minutes.")
        # A process of its own: the export's gigabytes are gone when the chat begins.
        command = [sys.executable, "-m", "executorch_webgpu", "export", "smollm2", "-o", str(path)]
        if subprocess.run(command, check=False).returncode != 0:
            raise WebGPUError("SmolLM2 was not exported")
    return path


@contextmanager
def _stages() -> Iterator[Callable[[str, int, int], None]]:
    """A progress display with a line for each stage; the yielded function reports to it.

    Where it is known how much there is to do, also with the time that is left.
    """
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Left(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            known = not task.finished and task.time_remaining is not None
            return super().render(task).append(" left") if known else Text()

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<26}"),
        BarColumn(),
        TimeElapsedColumn(),
        Left(),
    )
    # Speed is that of the whole stage: the last half minute's steps may have been few and large.
    with Progress(*columns, console=_notes, speed_estimate_period=3600) as progress:
        current: dict[str, Any] = {}

        def finish() -> None:
            for task in current.values():
                progress.update(task, total=1, completed=1)
            current.clear()

        def report(stage: str, done: int, total: int) -> None:
            if stage not in current:
                finish()
                current[stage] = progress.add_task(stage, total=total or None)
            progress.update(current[stage], completed=done, total=total or None)

        yield report
        finish()


def _load_input(
    path: Path, preparing: Preparing, method: str, index: int, program: Model
) -> torch.Tensor:
    """An array, or a picture as that input of the method takes it."""
    check_file(path)
    with path.open("rb") as file:
        is_array = path.suffix in (".npy", ".npz") or file.read(6) == b"\x93NUMPY"
    if is_array:
        return _load_tensor(path)
    signature = program.signature(method)
    wanted = signature[index] if index < len(signature) else ("nothing", ())
    return preparing.load(path, f"input {index} of '{method}'", *wanted)


def _load_tensor(path: Path) -> torch.Tensor:
    import numpy as np
    import torch

    check_file(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise WebGPUError(f"not a NumPy array of numbers (.npy): {path}") from error
    if not isinstance(array, np.ndarray):
        raise WebGPUError(f"{path} is an archive of arrays: give each as a file of its own (.npy)")
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except TypeError as error:  # a type that torch does not have
        raise WebGPUError(f"{path} cannot be a tensor: its elements are {array.dtype}") from error


def _summary(value: Any) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return str(value)
    text = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.numel() == 0:
        return text
    numbers = value.double()
    return f"{text}, min {numbers.min():.6g}, max {numbers.max():.6g}, mean {numbers.mean():.6g}"


def _save_array(path: Path, value: Any) -> None:
    import numpy as np
    import torch

    from .files import write_atomically

    array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    with write_atomically(path) as file:
        np.save(file, array)


def _adapter_name() -> str:
    from .runtime import devices as find_devices

    selected = find_devices().get("selected") or {}
    return str(selected.get("name", "no adapter"))


def _print_json(value: Any) -> None:
    # Not through rich, which would wrap and colour it.
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere when the process ends."""
    with suppress(OSError), open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _fail(sentence: str) -> None:
    _notes.print(f"[red]error:[/] {escape(sentence)}")
    raise typer.Exit(1)
