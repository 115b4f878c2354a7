"""Programs with operators outside their delegates: which kernels are missing, what brings them, and
what bench, chat and inspect make of several delegates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import executorch_webgpu
import numpy as np
import pytest
import torch
from executorch_webgpu import kernels
from executorch_webgpu.cli import app
from support.command import assert_one_sentence, command
from support.mixed import CONTEXT, DELEGATES, EightBitEmbedding, save_decoder
from support.paths import TESTS
from support.program import Saved, save
from torch import nn
from typer.testing import CliRunner

VOCABULARY = 49152  # of the tokenizer that a chat needs
QUANTIZED = "quantized_decomposed::embedding_byte.dtype_out"
NOWHERE = (
    "'forward' needs kernels that are not loaded: nowhere::bend.out, nowhere::twist.out "
    "(no installed package is known to have it)"
)

runner = CliRunner()

# Operators that no package has a kernel for, for programs to need.
_nowhere = torch.library.Library("nowhere", "DEF")
for _name in ("twist", "bend"):
    _nowhere.define(f"{_name}(Tensor x) -> Tensor")
    _nowhere.define(f"{_name}.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
    _nowhere.impl(_name, lambda x: x.clone(), "CompositeExplicitAutograd")
    _nowhere.impl(f"{_name}.out", lambda x, out: out.copy_(x), "CompositeExplicitAutograd")


class Twisted(EightBitEmbedding):
    def forward(self, tokens, position):
        y = torch.ops.nowhere.twist(super().forward(tokens, position) * 2)
        return torch.ops.nowhere.bend(torch.ops.nowhere.twist(y + 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def mixed(folder) -> Saved:
    return save_decoder(folder, "mixed", EightBitEmbedding(VOCABULARY))


@pytest.fixture(scope="module")
def twisted(folder) -> Saved:
    return save_decoder(folder, "twisted", Twisted(VOCABULARY))


def in_a_process(code: str) -> str:
    """What `code` prints in a process where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_of_packages_is_what_they_register():
    code = """
import importlib, json, torch
from executorch.extension.pybindings import _C
from executorch_webgpu.kernels import PACKAGES
known, brought = set(_C._get_operator_names()), {}
for package in PACKAGES:
    importlib.import_module(package)
    names = set(_C._get_operator_names())
    brought[package] = sorted(names - known)
    known = names
print(json.dumps(brought))
"""
    brought = json.loads(in_a_process(code).splitlines()[-1])
    assert brought == {package: sorted(held) for package, held in kernels.PACKAGES.items()}


LOAD = """
import executorch_webgpu
model = executorch_webgpu.load({path!r})
for _ in range(2):
    try:
        model.load_method()
    except executorch_webgpu.WebGPUError as error:
        print(error)
    import {package}
print(len(model.delegates()))
"""


def test_a_missing_kernel_and_what_to_import(mixed):
    code = LOAD.format(path=str(mixed.pte), package="executorch.kernels.quantized")
    error, delegates = in_a_process(code).splitlines()
    assert error == (
        f"{mixed.pte}: 'forward' needs kernels that are not loaded: {QUANTIZED} "
        "(import executorch.kernels.quantized)"
    )
    assert int(delegates) == DELEGATES


def test_an_operator_of_the_llm_package(folder):
    code = f"""
import torch
from pathlib import Path
import executorch.extension.llm.custom_ops.custom_ops
from support.program import save

class Rotated(torch.nn.Module):
    def forward(self, x):
        return torch.ops.llama.fast_hadamard_transform(x * 2) + 1

save(Path({str(folder)!r}), "rotated", Rotated(), (torch.ones(2, 8),), partly=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=TESTS)
    path, package = folder / "rotated.pte", "executorch.extension.llm.custom_ops.custom_ops"
    output = in_a_process(LOAD.format(path=str(path), package=package)).splitlines()
    assert output[0].endswith(f"llama::fast_hadamard_transform.out (import {package})")
    assert output[-1] == "2"


def test_kernels_that_nothing_brings(twisted):
    with pytest.raises(executorch_webgpu.WebGPUError) as refused:
        executorch_webgpu.load(twisted.pte).forward(torch.tensor([[1]]), torch.tensor([0]))
    assert str(refused.value) == f"{twisted.pte}: {NOWHERE}"


def test_every_missing_kernel_is_named_with_its_source(monkeypatch):
    # Other tests import these packages for the operators they register with torch.
    monkeypatch.delitem(sys.modules, "executorch.extension.llm.custom_ops.custom_ops", False)
    monkeypatch.setitem(sys.modules, "executorch.kernels.quantized", types.ModuleType("quantized"))
    sentence = kernels.explain_missing("step", ["llama::custom_sdpa.out", QUANTIZED, "a::b"])
    assert sentence == (
        "'step' needs kernels that are not loaded: "
        "a::b (no installed package is known to have it); "
        "llama::custom_sdpa.out (import executorch.extension.llm.custom_ops.custom_ops); "
        f"{QUANTIZED} (executorch.kernels.quantized is imported, but has not brought it)"
    )


def test_names_that_are_no_sentence(twisted, tmp_path):
    path = tmp_path / "hostile.pte"
    path.write_bytes(twisted.pte.read_bytes().replace(b"nowhere::twist", b"nowhere\n\x1b[31m\xff"))
    with pytest.raises(executorch_webgpu.WebGPUError) as refused:
        executorch_webgpu.load(path).load_method()
    assert str(refused.value).isprintable()
    assert r"'nowhere\n\x1b[31m" in str(refused.value)


def test_a_backend_that_is_not_there(twisted, tmp_path):
    path = tmp_path / "elsewhere.pte"
    path.write_bytes(twisted.pte.read_bytes().replace(b"VulkanBackend", b"TensorBackend"))
    model = executorch_webgpu.load(path)
    model.outline["methods"][0]["host_kernels"].clear()
    with pytest.raises(
        executorch_webgpu.WebGPUError,
        match="has delegates for TensorBackend, not available",
    ):
        model.load_method()


# --- The command imports what is installed, for nobody else can ---


@pytest.fixture
def inputs(tmp_path) -> list[str]:
    np.save(tmp_path / "tokens.npy", np.array([[5, 7, 11]]))
    np.save(tmp_path / "position.npy", np.array([2]))
    return [f"--input={tmp_path / name}.npy" for name in ("tokens", "position")]


def test_run_imports_kernels(mixed, inputs, tmp_path):
    done = command("run", mixed.pte, *inputs, "--output-dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    eager = EightBitEmbedding(VOCABULARY).eval()
    expected = eager(torch.tensor([[5, 7, 11]]), torch.tensor([2])).detach()
    got = torch.from_numpy(np.load(tmp_path / "out" / "output_0.npy"))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_chat_imports_kernels(mixed, tiny, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny.parent / name, tmp_path)
    shutil.copy(mixed.pte, tmp_path)
    done = command("chat", tmp_path / "mixed.pte", "--prompt", "Hi", "--max-tokens", "3")
    assert done.returncode == 0, done.stderr
    assert "tok/s" in done.stderr


@pytest.mark.parametrize("name", ["run", "bench", "chat"])
def test_commands_name_kernels_that_nothing_brings(twisted, name):
    assert_one_sentence(runner.invoke(app, [name, str(twisted.pte)]), NOWHERE)


def test_inspect_lists_operators_outside_delegates(mixed, twisted):
    shown = runner.invoke(app, ["inspect", str(mixed.pte)])
    assert QUANTIZED in shown.stdout and "aten::cumsum.out" in shown.stdout
    assert shown.stderr == ""  # a run imports what it needs
    for arguments in ([], ["--json"]):
        shown = runner.invoke(app, ["inspect", str(twisted.pte), *arguments])
        assert shown.exit_code == 0
        assert shown.stderr == f"{NOWHERE}\n"


# --- Several delegates ---


def plans(found, tokens: int) -> list[dict]:
    """Of each delegate, the plan for a call with so many tokens."""
    name = "one token" if tokens == 1 else "the largest inputs"
    delegates = found["methods"][0]["delegates"]
    return [plan for d in delegates for plan in d["plans"] if plan["for"] == name]


def test_inspect_plans_one_token_in_every_delegate(mixed):
    found = executorch_webgpu.inspect(mixed.pte)
    assert "error" not in json.dumps(found)
    largest, one = plans(found, CONTEXT - 1), plans(found, 1)
    assert len(largest) == len(one) == DELEGATES
    for before, after in zip(largest, one, strict=True):
        expected = [
            [1 if extent == CONTEXT - 1 else extent for extent in value["sizes"]]
            for value in before["inputs"]
        ]
        assert [value["sizes"] for value in after["inputs"]] == expected


class StaticInside(nn.Module):
    """The second delegate takes integers of static sizes."""

    def forward(self, x, indices):
        i = torch.cumsum(indices, 0).to(torch.int32)
        return torch.cumsum(x * 2, 0) + i.float()


def test_inspect_plans_no_sizes_that_no_run_has(folder):
    inputs = (torch.ones(8, 16), torch.ones(8, 16, dtype=torch.int32))
    saved = save(folder, "static", StaticInside(), inputs, partly=True)
    delegates = executorch_webgpu.inspect(saved.pte)["methods"][0]["delegates"]
    assert len(delegates) == 2
    for delegate in delegates:
        assert [plan["for"] for plan in delegate["plans"]] == ["the largest inputs"]


def test_bench_counts_the_dispatches_of_all_delegates(mixed):
    found = executorch_webgpu.inspect(mixed.pte)
    expected = {
        tokens: sum(plan["dispatch_count"] for plan in plans(found, tokens))
        for tokens in (CONTEXT - 1, 1)
    }
    assert expected[1] > max(plan["dispatch_count"] for plan in plans(found, 1))
    done = command("bench", mixed.pte, "--repetitions", "1", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    counted = {t["name"]: t["dispatches"] for t in report["timings"]}
    assert counted == {"prefill": expected[CONTEXT - 1], "decode": expected[1]}
    assert report["gpu_bytes"] > 0
    assert report["timings"][0]["kernel_microseconds"] is None


def test_bench_shows_time_by_kernel_of_all_delegates(mixed):
    profiling = {**os.environ, "ETWEBGPU_PROFILING": "1"}
    done = command("bench", mixed.pte, "--repetitions", "1", env=profiling)
    assert done.returncode == 0, done.stderr
    _, heading, rows = done.stdout.partition("| GPU µs of a call |")
    features = executorch_webgpu.devices()["selected"]["features"]
    assert bool(heading) == ("timestamp-query" in features)
    for operator in ("aten.gt.Scalar", "aten.embedding.default", "aten.linear.default"):
        assert not heading or operator in rows
