"""benchmarks/kernel.py at small sizes: every short name, two libraries by turns, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from executorch_webgpu.native import library_path
from kernel import main
from kernel_cases import CASES

Run = Callable[..., None]

SMALL = {
    "MxKxN": "2x64x8,1x32x4",
    "BxMxKxN": "2x3x4x5",
    "TOKENSxHEADSxKV_HEADSxWIDTHxCONTEXT": "2x4x2x8x0",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process, whose environment it changes."""
    monkeypatch.setenv("ETWEBGPU_PROFILING", "1")

    def call(operator: str, **options: object) -> None:
        main(
            operator,
            **({"repetitions": 1, "warm": 0.0, "compare": None, "json_file": None} | options),
        )

    return call


@pytest.mark.parametrize("name", CASES)
def test_short_names(run: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    sizes = SMALL.get(case.form, "3x8")
    run(name, sizes=sizes)
    printed = capsys.readouterr().out
    for each in sizes.split(","):
        assert f"{case.operator} {each} f32" in printed
    assert "GB/s" in printed and " us in " in printed
    assert ("GFLOP/s" in printed) == (case.form in SMALL)


def test_any_operator(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("aten.leaky_relu.default", sizes="3x4", args="[0.1]", dtype="f16")
    run("aten.abs.default", sizes="5", dtype="i32")
    assert capsys.readouterr().out.count("us in elementwise") == 2


def test_two_libraries_by_turns() -> None:
    other = str(library_path().resolve())
    words = ["softmax", "--sizes", "4x9,2x3", "--warm", "0", "--repetitions", "2"]
    done = subprocess.run(
        [sys.executable, "benchmarks/kernel.py", *words, "--compare", other],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "4x9: this library is" in done.stdout and "2x3: this library is" in done.stdout
    assert done.stdout.count("us in softmax_columns") == 4


@pytest.mark.parametrize(
    ("operator", "options", "sentence"),
    [
        ("softmx", {}, "did you mean softmax?"),
        ("linear", {"sizes": "3x4"}, "'3x4' has 2 numbers; sizes of aten.linear.default are MxKxN"),
        ("softmax", {"sizes": "3x4+3x4"}, "'3x4+3x4' has 2 tensors"),
        ("softmax", {"sizes": "3*4"}, "'3*4' is not written as sizes are"),
        ("add", {"sizes": "3x4+2x4"}, "aten.add.Tensor at 3x4+2x4: "),
        ("linear4", {"sizes": "1x33x4"}, "the group size 32 does not divide"),
        ("softmax", {"sizes": "3x4", "args": "[7, false]"}, "dimension 7 is outside"),
        ("sum", {"sizes": "3x4", "args": "[[7], true, null]"}, "aten.sum.dim_IntList at 3x4: "),
        ("sum", {"sizes": "3x4", "args": "[7]"}, "aten.sum.dim_IntList at 3x4: "),
        ("softmax", {"args": "[7"}, "--args is no JSON"),
        ("softmax", {"args": "7"}, "--args is no JSON list"),
        ("softmax", {"compare": Path("nowhere.so")}, "other library: there is no file nowhere.so"),
    ],
)
def test_mistakes(run: Run, operator: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(typer.BadParameter) as error:
        run(operator, **options)
    assert sentence in error.value.message
