"""The command: what it says when something is wrong, and its work on a small real model."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch_webgpu import cli, render
from executorch_webgpu.cli import app
from rich.console import Console
from support.command import assert_one_sentence, command
from support.program import save
from typer.testing import CliRunner

runner = CliRunner()


@pytest.fixture
def not_a_program(tmp_path: Path) -> Path:
    path = tmp_path / "model.pte"
    path.write_bytes(b"hello, world")
    return path


@pytest.fixture(scope="module")
def not_a_language_model(tmp_path_factory) -> Path:
    class Twice(torch.nn.Module):
        def forward(self, x):
            return x * 2

    return save(tmp_path_factory.mktemp("other"), "twice", Twice(), (torch.ones(2, 3),)).pte


@pytest.mark.parametrize("name", ["run", "inspect", "check", "compile", "chat", "bench"])
def test_missing_file(name: str) -> None:
    assert_one_sentence(runner.invoke(app, [name, "no/such.pte"]), "no such file: no/such.pte")


@pytest.mark.parametrize("name", ["run", "inspect", "check", "compile", "chat", "bench"])
def test_not_a_program(name: str, not_a_program: Path) -> None:
    result = runner.invoke(app, [name, str(not_a_program)])
    assert_one_sentence(result, "not an ExecuTorch program", str(not_a_program))


@pytest.mark.parametrize("name", ["run", "inspect", "check", "compile", "chat", "bench"])
def test_other_things_than_a_program(name: str, tmp_path: Path) -> None:
    assert_one_sentence(runner.invoke(app, [name, str(tmp_path)]), "not a file")
    (tmp_path / "empty.pte").touch()
    result = runner.invoke(app, [name, str(tmp_path / "empty.pte")])
    assert_one_sentence(result, "not an ExecuTorch program (.pte), it is empty", "empty.pte")
    (tmp_path / "data.pte").write_bytes(b"\x30\0\0\0FT01FH01")
    result = runner.invoke(app, [name, str(tmp_path / "data.pte")])
    assert_one_sentence(result, "not a program (.pte) but its data (.ptd)", "data.pte")
    os.mkfifo(tmp_path / "pipe.pte")
    assert_one_sentence(runner.invoke(app, [name, str(tmp_path / "pipe.pte")]), "not a file")


@pytest.mark.parametrize("name", ["run", "inspect", "check", "compile", "chat", "bench"])
@pytest.mark.parametrize("share", [0.0001, 0.5, 0.9999])
def test_truncated_program(name: str, share: float, tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    cut = tmp_path / "cut.pte"
    cut.write_bytes(data[: int(len(data) * share)])
    assert_one_sentence(runner.invoke(app, [name, str(cut)]), str(cut), "is it truncated?")


def test_missing_weights_file(tiny: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["inspect", str(tiny), "--data", str(tmp_path / "weights.ptd")])
    assert_one_sentence(result, "no such file", "weights.ptd")


def test_input_is_not_an_array(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"nonsense")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "texts.npy", np.array(["a"]))
    np.savez(tmp_path / "several.npz", x=np.zeros(2))
    for name, part in {
        "x.npy": "not a NumPy array of numbers",
        "objects.npy": "not a NumPy array of numbers",
        "texts.npy": "cannot be a tensor: its elements are <U1",
        "several.npz": "is an archive of arrays",
        "none.npy": "no such file",
        "": "not a file",
    }.items():
        result = runner.invoke(app, ["run", str(tiny), "--input", str(tmp_path / name)])
        assert_one_sentence(result, part, name)


def test_wrong_number_of_inputs(tiny: Path) -> None:
    result = runner.invoke(app, ["run", str(tiny)])
    assert_one_sentence(result, "takes 2 inputs", "int64 [1, 255]", "got 0")


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.zeros((1, 4), np.float32), "input 0 of 'forward' is float32 [1, 4]"),
        (np.zeros(4, np.int64), "input 0 of 'forward' is int64 [4]"),
        (np.zeros((1, 999), np.int64), "of at most [1, 255]"),
    ],
)
def test_wrong_input(tiny: Path, tmp_path: Path, array: np.ndarray, part: str) -> None:
    np.save(tmp_path / "tokens.npy", array)
    np.save(tmp_path / "position.npy", np.zeros(1, np.int64))
    inputs = [f"--input={tmp_path / name}.npy" for name in ("tokens", "position")]
    assert_one_sentence(runner.invoke(app, ["run", str(tiny), *inputs]), part)


def test_unknown_method(tiny: Path) -> None:
    result = runner.invoke(app, ["run", str(tiny), "--method", "backward"])
    assert_one_sentence(result, "no method 'backward'", "forward")


def test_model_without_tokenizer(tiny: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.pte"
    alone.symlink_to(tiny)
    assert_one_sentence(runner.invoke(app, ["chat", str(alone)]), "tokenizer.json is missing")


def test_truncated_model_without_tokenizer(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pte"
    cut.write_bytes(tiny.read_bytes()[:100_000])
    result = runner.invoke(app, ["chat", str(cut)])
    assert_one_sentence(result, "is it truncated?")
    assert result.stderr.count(str(cut)) == 1


def test_prompt_past_the_context(tiny: Path) -> None:
    result = runner.invoke(app, ["chat", str(tiny), "--prompt", "word " * 500])
    assert result.exit_code == 1
    assert "do not fit into the model's context of 256" in result.stderr
    assert "Traceback" not in result.stderr


def test_unwritable_output(tiny: Path, tmp_path: Path) -> None:
    """Refused before any work."""
    result = runner.invoke(app, ["export", "smollm2", "-o", str(tmp_path)])
    assert_one_sentence(result, "is a folder")
    file = tmp_path / "file"
    file.touch()
    result = runner.invoke(app, ["export", "smollm2", "-o", str(file / "smollm2.pte")])
    assert_one_sentence(result, f"{file} is a file, not a folder to write into")
    result = runner.invoke(app, ["run", str(tiny), "--output-dir", str(file)])
    assert_one_sentence(result, f"{file} is a file, not a folder to write into")
    result = runner.invoke(app, ["run", str(tiny), "--output-dir", str(file / "out")])
    assert_one_sentence(result, "cannot write into the folder", str(file / "out"))


def test_not_a_language_model(not_a_language_model: Path) -> None:
    result = runner.invoke(app, ["chat", str(not_a_language_model)])
    assert_one_sentence(result, "forward takes float32 [2, 3], not tokens [1, S]")


def test_figures_that_are_none(tiny: Path) -> None:
    for arguments in (
        ["bench", str(tiny), "--peak-bandwidth", "nan"],
        ["bench", str(tiny), "--peak-tflops", "0"],
        ["bench", str(tiny), "--repetitions", "0"],
        ["chat", str(tiny), "--temperature", "nan"],
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 2 and f"Invalid value for '{arguments[2]}'" in result.stderr


def test_a_reader_that_has_seen_enough(tiny: Path) -> None:
    line = f"{sys.executable} -m executorch_webgpu inspect {tiny} --plan | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 141) and done.stderr == ""


def test_devices_says_why_none_is_used() -> None:
    result = command("devices", env=os.environ | {"ETWEBGPU_ADAPTER": "Voodoo 2"})
    assert result.returncode == 0 and "→" not in result.stdout
    assert "no WebGPU adapter matches 'Voodoo 2'" in result.stderr


def test_missing_library_is_one_sentence(tmp_path: Path) -> None:
    environment = os.environ | {"ETWEBGPU_LIBRARY": str(tmp_path / "none.so")}
    result = command("devices", env=environment | {"PYTHONWARNINGS": "ignore"})
    assert result.returncode == 1
    assert result.stderr.startswith("error: the WebGPU backend library is missing")
    assert len(result.stderr.splitlines()) == 1


def test_unexpected_failures_have_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail() -> None:
        raise ZeroDivisionError("one by zero")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    assert exit_info.value.code == 1
    assert "unexpected ZeroDivisionError: one by zero" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["chat"], ["run"], ["inspect"], ["devices"], ["bench"], ["export"], ["export", "smollm2"]],
)
def test_help(arguments: list[str]) -> None:
    result = runner.invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout and "Traceback" not in result.stdout


def test_run_prints_and_saves_outputs(tiny: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", np.array([[1, 2, 3]]))
    np.save(tmp_path / "position.npy", np.array([0]))
    inputs = [f"--input={tmp_path / name}.npy" for name in ("tokens", "position")]
    result = runner.invoke(app, ["run", str(tiny), *inputs, "--output-dir", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("output 0: float32 [1, 49152], min ")
    assert np.load(tmp_path / "out" / "output_0.npy").shape == (1, 49152)


def test_chat_reads_lines_from_stdin(tiny: Path) -> None:
    lines = "Hello\n\n/clear\nHello\n"
    result = command("chat", tiny, "--max-tokens", "4", input=lines)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == second  # the same question to the same state
    assert result.stderr.count("tok/s") == 4  # prefill and decode, twice


def test_chat_obeys_commands_without_a_terminal(tiny: Path) -> None:
    """As at a terminal: /clear is no message, and nothing after /exit is read."""
    result = command("chat", tiny, "--max-tokens", "4", input="Hi\n /clear \nHi\n/exit\nHi\n")
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == second
    assert result.stderr.count("prefill") == 2
    assert command("chat", tiny, input="/exit\n").stdout == ""
    no_command = command("chat", tiny, "--max-tokens", "1", input="/exit now\n")
    assert no_command.stderr.count("prefill") == 1


def test_chat_at_a_terminal_obeys_the_same_commands(tiny: Path) -> None:
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "executorch_webgpu", "chat", str(tiny), "--max-tokens", "4"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(main, b"Hi\n/clear\nHi\n/exit\nHi\n\x04")  # and Ctrl-D, should it not be obeyed
    output, errors = process.communicate(timeout=600)
    os.close(main)
    os.close(terminal)
    assert process.returncode == 0, errors
    answers = [line.lstrip("> ") for line in output.splitlines() if line.strip("> ")]
    assert len(answers) == 2 and answers[0] == answers[1]
    assert errors.count("prefill") == 2


def test_chat_reads_any_bytes(tiny: Path) -> None:
    chat = [sys.executable, "-m", "executorch_webgpu", "chat", str(tiny), "--max-tokens", "2"]
    for more, lines in (([], b"\xff\xfeHi\n"), (["--prompt", b"\xff"], b"")):
        done = subprocess.run([*chat, *more], input=lines, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(b"prefill") == 1


def test_chat_says_when_the_context_is_full(tiny: Path) -> None:
    result = command("chat", tiny, input="Tell me everything.\nMore.\n")
    assert result.returncode == 0, result.stderr
    assert "context of 256 tokens is full: the answer ends here." in result.stderr
    assert "its oldest 2 messages were dropped" in result.stderr


def test_chat_goes_on_with_a_saved_conversation(tiny: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.json")
    few = ["--max-tokens", "4", "--repetition-penalty", "1.1", "--stop", "never said"]
    whole = command("chat", tiny, *few, input="Hello\nAnd then?\n")
    first = command("chat", tiny, *few, "--save", kept, "--prompt", "Hello")
    second = command("chat", tiny, *few, "--load", kept, "--prompt", "And then?")
    assert first.stdout + second.stdout == whole.stdout, second.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--system", "Be brief.", "--load", "x"], "a saved conversation has its own instructions"),
        (["--tools", "{tmp}/tools.json"], "must be a JSON list of functions"),
        (["--stop", ""], "--stop is an empty text"),
        (["--tools", "{tmp}/none.json"], "No such file"),
        (["--load", "{tmp}/none.json"], "cannot be read"),
        (["--save", "{tmp}"], "is there already, and is no file"),
        (["--save", "{tmp}/tools.json/kept.json"], "the conversation cannot be saved in"),
    ],
)
def test_chat_refuses_files_that_do_not_fit(
    tiny: Path, tmp_path: Path, options: list[str], why: str
) -> None:
    (tmp_path / "tools.json").write_text('["clock"]')
    given = [option.format(tmp=tmp_path) for option in options]
    result = command("chat", tiny, *given, "--prompt", "Hi")
    assert result.returncode == 1 and why in result.stderr and result.stdout == ""


def test_chat_stops_at_ctrl_c(tiny: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "executorch_webgpu", "chat", str(tiny)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    process.stdin.write("Hello\n")
    process.stdin.flush()
    process.stdout.read(1)  # the answer has begun
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate("/clear\n", timeout=600)
    assert process.returncode == 0, errors
    assert "tok/s" in errors and "Traceback" not in errors


def test_inspect_lists_operators(tiny: Path) -> None:
    text = runner.invoke(app, ["inspect", str(tiny)]).stdout
    assert "et_vk.linear_q4gsw.default" in text
    found = json.loads(runner.invoke(app, ["inspect", str(tiny), "--json"]).stdout)
    (delegate,) = found["methods"][0]["delegates"]
    largest = delegate["plans"][0]
    # Memory for activations, against what the exporter planned for them.
    assert largest["slot_bytes"] <= delegate["memory"]["exporter_slot_bytes"]
    # How each value is stored, beside what it is.
    values, storages = delegate["graph"]["values"], delegate["memory"]["storages"]
    stored = dict(zip(values, storages, strict=False))
    assert {stored[v] for v in values if "float32[" in v} == {"f32"}
    assert {stored[v] for v in values if v in ("none", "symint")} <= {None}


def test_inspect_says_what_a_fused_call_stands_for(tiny: Path) -> None:
    found = json.loads(runner.invoke(app, ["inspect", str(tiny), "--json"]).stdout)
    dispatches = found["methods"][0]["delegates"][0]["plans"][0]["dispatches"]
    covers = [d["covers"] for d in dispatches if d["call"] == "fused.linear_q4gsw"]
    assert any(names.count("et_vk.linear_q4gsw.default") == 3 for names in covers)  # q, k and v
    assert any("aten.sigmoid.default" in names for names in covers)
    assert all(len(d["covered_nodes"]) == len(d["covers"]) for d in dispatches if "covers" in d)


def test_inspect_prints_a_kernel(tiny: Path) -> None:
    result = runner.invoke(app, ["inspect", str(tiny), "--kernel", "0"])
    assert result.exit_code == 0
    assert "// forward, delegate 0, one token, dispatch 0: embedding[" in result.stdout
    assert result.stdout.count("@compute") == 2
    result = runner.invoke(app, ["inspect", str(tiny), "--kernel", "9999"])
    assert result.exit_code == 1 and "dispatch 9999" in result.stderr


def test_devices_lists_an_adapter() -> None:
    result = runner.invoke(app, ["devices"])
    assert result.exit_code == 0 and "→" in result.stdout
    assert json.loads(runner.invoke(app, ["devices", "--json"]).stdout)["selected"]


def test_bench_reports_markdown_and_json(tiny: Path) -> None:
    arguments = ["bench", str(tiny), "--repetitions", "1"]
    assert "| prefill | 128 |" in runner.invoke(app, arguments).stdout
    report = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    measured = [(t["name"], t["tokens"]) for t in report["timings"]]
    assert measured == [("prefill", 128), ("prefill", 255), ("decode", 128), ("decode", 256)]


def test_bench_of_any_program(not_a_language_model: Path) -> None:
    arguments = ["bench", str(not_a_language_model), "--repetitions", "3"]
    text = runner.invoke(app, arguments).stdout
    assert "forward(float32 [2, 3]) on " in text and ", 3 calls" in text
    report = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert len(report["seconds"]) == 3 and min(report["seconds"]) > 0
    assert min(report["seconds"]) <= report["median_seconds"] <= max(report["seconds"])
    assert report["first_call_seconds"] > 0 and report["gpu_bytes"] > 0
    assert report["delegates"] == 1
    assert f"| dispatches | {report['dispatches']} in 1 delegate |" in text
    result = runner.invoke(app, [*arguments, "--method", "nothing"])
    assert_one_sentence(result, "'nothing'")


def test_starting_a_chat_imports_no_export_machinery() -> None:
    code = """
import sys
from executorch_webgpu import cli, chat, generate, tokenizer, runtime
runtime._pybindings()
heavy = ("torch._dynamo", "torchao", "executorch.exir", "gguf", "wgpu.classes")
print([name for name in heavy if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_render_shows_any_document() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    document = {
        "path": "a.pte",
        "weight_bytes": 3 << 20,
        "methods": [{"name": "forward", "operators": [{"name": "add", "calls": 2}], "graph": {}}],
        "secret": {"x": 1},
    }
    console.print(render.document(document, hidden=["secret"]))
    text = console.export_text()
    for part in ("a.pte", "3.0 MiB", "methods › forward › operators", "add"):
        assert part in text
    assert "secret" not in text
