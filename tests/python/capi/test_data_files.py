"""Programs whose weights are split over several .ptd files: given as a list, as a folder, by the
option data_files, and wrongly."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import executorch_webgpu
import pytest
import torch
from executorch.exir import ExecutorchBackendConfig
from executorch_webgpu import WebGPUError
from executorch_webgpu.cli import app
from executorch_webgpu.lowering import partition, quiet_upstream
from executorch_webgpu.native import path_list
from support.mixed import EightBitEmbedding, save_decoder
from support.options import option
from support.program import Saved, save, stock_forward, write
from torch import nn
from typer.testing import CliRunner

X = torch.linspace(-1, 1, 64).reshape(4, 16)


class Deep(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class Mixed(nn.Module):
    """Two delegates around operators of the host, which have constants of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 16)
        self.first, self.second = (nn.Parameter(torch.rand(4, 16) + 1) for _ in range(2))

    def forward(self, x):
        y = torch.fmod(torch.cumsum(self.up(x), 0), self.first)
        y = torch.fmod(torch.cumsum(y, 0), self.second)
        return self.down(y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def deep(folder) -> Saved:
    options = {"external_constants_max_data_bytes": 1500}
    saved = save(folder, "deep", Deep(), (X,), options=options)
    assert len(saved.ptds) >= 3
    return saved


@pytest.fixture(scope="module")
def other(folder) -> Saved:
    """The same program with other weights, in one file."""
    options = {"external_constants_max_data_bytes": 1 << 30}
    return save(folder, "other", Deep(seed=5), (X,), options=options)


def save_mixed(folder: Path, name: str, external_constants: object) -> Saved:
    with quiet_upstream(), torch.no_grad():
        graph = torch.export.export(Mixed().eval(), (X,), strict=False)
        edge = partition(graph, {"external_constants_max_data_bytes": 1100})
        config = ExecutorchBackendConfig(
            extract_delegate_segments=True, external_constants=external_constants
        )
        return write(folder, name, edge.to_executorch(config))


@pytest.fixture(scope="module")
def mixed(folder) -> Saved:
    """The host's constants lie in one file, the delegates' in others."""
    saved = save_mixed(folder, "mixed", True)
    assert len(saved.ptds) >= 3
    return saved


def runs(model: executorch_webgpu.Model) -> bool:
    (out,) = model.forward(X)
    torch.testing.assert_close(out, Deep().eval()(X), rtol=1e-5, atol=1e-5)
    return True


def refusal(pte: Path, data_path: object) -> str:
    """The sentence about data files that do not do, through `load`."""
    with pytest.raises(WebGPUError) as refused:
        executorch_webgpu.load(pte, data_path).load_method()
    sentence = str(refused.value)
    assert sentence.isprintable()
    return sentence


def test_a_list_of_files_in_any_order(deep):
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds))
    assert runs(executorch_webgpu.load(deep.pte, [str(path) for path in reversed(deep.ptds)]))


def test_a_folder_stands_for_its_files(deep):
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds[0].parent))


def test_one_file_is_as_before(other):
    (out,) = executorch_webgpu.load(other.pte, other.ptd).forward(X)
    torch.testing.assert_close(out, Deep(seed=5).eval()(X), rtol=1e-5, atol=1e-5)
    (again,) = executorch_webgpu.load(other.pte, [other.ptd]).forward(X)
    assert torch.equal(out, again)


@pytest.mark.parametrize("name", ["a:b;c.ptd", '["x"].ptd', "späce 🙂.ptd", "-.ptd"])
def test_names_with_any_character(deep, tmp_path, name):
    renamed = tmp_path / name
    renamed.symlink_to(deep.ptds[0])
    assert runs(executorch_webgpu.load(deep.pte, [renamed, *deep.ptds[1:]]))


def test_the_stock_runtime_by_the_option(deep):
    with option("data_files", path_list(deep.ptds)):
        (out,) = stock_forward(deep)(X)
        torch.testing.assert_close(out, Deep().eval()(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError):
        stock_forward(deep)


def test_the_option_adds_to_the_one_file_that_the_stock_runtime_takes(deep):
    first, *others = deep.ptds
    with option("data_files", os.pathsep.join(map(str, others))):
        (out,) = stock_forward(Saved(deep.pte, first))(X)
    torch.testing.assert_close(out, Deep().eval()(X), rtol=1e-5, atol=1e-5)


def test_the_option_serves_load_and_inspect(deep):
    executorch_webgpu.options(data_files=deep.ptds)
    try:
        assert runs(executorch_webgpu.load(deep.pte))
        found = executorch_webgpu.inspect(deep.pte)
    finally:
        executorch_webgpu.options(data_files="")
    assert [file["path"] for file in found["data_files"]] == list(map(str, deep.ptds))
    assert stored(found) == {True}


def test_the_option_does_not_trouble_other_programs(folder):
    saved = save(folder, "inside", Deep(), (X,))
    with option("data_files", "/nowhere/other.ptd"):
        assert runs(executorch_webgpu.load(saved.pte))


def test_relative_paths_are_those_of_load(deep, monkeypatch):
    monkeypatch.chdir(deep.ptds[0].parent)
    model = executorch_webgpu.load(deep.pte, [path.name for path in deep.ptds])
    monkeypatch.chdir("/")
    assert runs(model)


def stored(found) -> set[bool]:
    return {row["stored"] for row in found["methods"][0]["delegates"][0]["weights"]}


def test_inspect_says_what_is_stored(deep):
    assert stored(executorch_webgpu.inspect(deep.pte)) == {False}
    assert stored(executorch_webgpu.inspect(deep.pte, deep.ptds[0])) == {True, False}
    assert stored(executorch_webgpu.inspect(deep.pte, deep.ptds)) == {True}


def test_the_environment_and_its_separator(deep):
    code = f"""
import torch
import executorch_webgpu
from executorch.runtime import Runtime
method = Runtime.get().load_program({str(deep.pte)!r}).load_method("forward")
print(method.execute([torch.ones(4, 16)])[0].shape)
"""
    for text in (os.pathsep.join(map(str, deep.ptds)), str(deep.ptds[0].parent)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "ETWEBGPU_DATA_FILES": text},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "torch.Size([4, 16])\n", done.stderr


@pytest.mark.parametrize("given", [0, 1, 2])
def test_a_missing_file_is_explained(deep, given):
    paths = deep.ptds[:given]
    sentence = refusal(deep.pte, paths)
    for part in ("weight '", "an export may be split over several .ptd files", *map(str, paths)):
        assert part in sentence
    assert ("data files read: none;" in sentence) == (given == 0)
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds))


def test_a_missing_file_is_explained_to_the_stock_runtime(deep):
    first, second, *_ = deep.ptds
    executorch_webgpu.native.library().clear_error()
    with pytest.raises(RuntimeError):
        stock_forward(Saved(deep.pte, first))
    assert "data files read: none; an export may be split" in executorch_webgpu.last_error()
    with option("data_files", str(second)), pytest.raises(RuntimeError):
        stock_forward(Saved(deep.pte, first))
    assert f"data files read: {second}; an export" in executorch_webgpu.last_error()


def test_weights_of_another_model_are_not_taken(deep, other):
    assert f"data files read: {other.ptd};" in refusal(deep.pte, other.ptd)


def test_a_list_given_to_load_belongs_to_that_model(deep):
    model = executorch_webgpu.load(deep.pte, deep.ptds)
    assert "data files read: none" in refusal(deep.pte, None)
    assert runs(model)
    assert "data files read: none" in refusal(deep.pte, None)


def test_threads_with_files_of_their_own(deep, other):
    # The other's file is one of two, so that its weights too come by way of the thread's option.
    tasks = [(deep, deep.ptds, Deep(0)), (other, (deep.ptds[0], other.ptd), Deep(5))] * 2
    problems: list[str] = []

    def work(saved: Saved, files: Sequence[Path], eager: nn.Module) -> None:
        try:
            for _ in range(5):
                (out,) = executorch_webgpu.load(saved.pte, files).forward(X)
                torch.testing.assert_close(out, eager(X), rtol=1e-5, atol=1e-5)
        except Exception as error:
            problems.append(repr(error))

    with torch.no_grad():
        threads = [threading.Thread(target=work, args=task) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems


# --- Constants of operators that ExecuTorch's kernels run ---


def test_constants_of_host_operators_in_one_of_the_files(mixed):
    for files in (mixed.ptds, tuple(reversed(mixed.ptds)), mixed.ptds[0].parent):
        (out,) = executorch_webgpu.load(mixed.pte, files).forward(X)
        torch.testing.assert_close(out, Mixed().eval()(X), rtol=1e-5, atol=1e-5)
    with option("data_files", path_list(mixed.ptds)):
        (again,) = executorch_webgpu.load(mixed.pte).forward(X)
    assert torch.equal(out, again)


def test_constants_of_host_operators_that_are_not_given(mixed):
    of_host = [path for path in mixed.ptds if "vulkan" not in path.name]
    sentence = refusal(mixed.pte, [path for path in mixed.ptds if path not in of_host])
    assert "'forward' needs constants that the program keeps in a .ptd file: first, second" in (
        sentence
    )
    assert "several .ptd files" in sentence and mixed.ptds[-1].name in sentence
    assert "data files read: none" in refusal(mixed.pte, None)
    assert "weight '" in refusal(mixed.pte, of_host)


def test_constants_of_host_operators_in_several_files(folder):
    saved = save_mixed(folder, "scattered", lambda node: f"host_{node.name}")
    of_host = [path for path in saved.ptds if path.name.startswith("host_")]
    assert len(of_host) == 2
    sentence = refusal(saved.pte, saved.ptds)
    for part in (*map(str, of_host), "lie in several files", "Module in C++"):
        assert part in sentence
    assert sentence.count(str(saved.pte)) == 1


def test_constants_of_host_operators_in_files_that_disagree(mixed, tmp_path):
    (of_host,) = [path for path in mixed.ptds if "vulkan" not in path.name]
    changed = bytearray(of_host.read_bytes())
    changed[struct.unpack_from("<Q", changed, 32)[0]] ^= 0xFF
    (tmp_path / "changed.ptd").write_bytes(bytes(changed))
    sentence = refusal(mixed.pte, [*mixed.ptds, tmp_path / "changed.ptd"])
    assert str(of_host) in sentence and "hold different data under 'first'" in sentence


# --- Hostile files ---


def put(data: bytes, offset: int, number: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<Q", changed, offset, number)
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[:40], "40 bytes are too few for the header"),
        (lambda data: data[:-1], "is it truncated?"),
        (lambda data: data[: len(data) // 2], "do not fit into the file"),
        (lambda data: b"no tensor data at all, only a text" * 9, "magic bytes"),
        (lambda data: put(data, 24, 2**64 - 1), "does not fit into the file"),
        (lambda data: put(data, 32, 2**63), "do not fit into the file"),
        (lambda data: put(data, 40, 2**64 - 64), "do not fit into the file"),
    ],
)
def test_damaged_files(deep, tmp_path, damage, part):
    broken = tmp_path / "broken.ptd"
    broken.write_bytes(damage(deep.ptds[0].read_bytes()))
    for files in ([broken], [*deep.ptds[1:], broken], tmp_path):
        sentence = refusal(deep.pte, files)
        assert part in sentence and str(broken) in sentence
    with option("data_files", str(broken)), pytest.raises(RuntimeError):
        stock_forward(deep)
    assert part in executorch_webgpu.last_error()
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds))


def test_other_things_than_files(deep, tmp_path):
    assert "no such file" in refusal(deep.pte, [deep.ptds[0], tmp_path / "none.ptd"])
    assert "no .ptd file is in the folder" in refusal(deep.pte, tmp_path)
    assert "it is a program (.pte)" in refusal(deep.pte, [deep.pte])
    pipe = tmp_path / "pipe.ptd"
    os.mkfifo(pipe)
    assert "is empty or not a file" in refusal(deep.pte, pipe)
    for text in (str(tmp_path / "none.ptd"), str(pipe)):
        with option("data_files", text), pytest.raises(RuntimeError):
            stock_forward(deep)
        assert text in executorch_webgpu.last_error()
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds))


def test_a_key_in_two_files(deep, tmp_path):
    """Equal data may be there twice; different data under one key are refused."""
    copy = tmp_path / "copy.ptd"
    copy.write_bytes(deep.ptds[0].read_bytes())
    link = tmp_path / "link.ptd"
    link.symlink_to(deep.ptds[1])
    assert runs(executorch_webgpu.load(deep.pte, [copy, link, *deep.ptds, deep.ptds[0]]))
    found = executorch_webgpu.inspect(deep.pte, [copy, link, *deep.ptds, deep.ptds[0]])
    assert len(found["data_files"]) == len(deep.ptds) + 1  # a link is no further file

    changed = bytearray(deep.ptds[0].read_bytes())
    start = struct.unpack_from("<Q", changed, 32)[0]
    changed[start] ^= 0xFF
    copy.write_bytes(bytes(changed))
    sentence = refusal(deep.pte, [*deep.ptds, copy])
    for part in (str(deep.ptds[0]), str(copy), "hold different data under"):
        assert part in sentence
    assert runs(executorch_webgpu.load(deep.pte, deep.ptds))


@pytest.mark.parametrize(
    ("text", "part"),
    [("[", "a value expected"), ("[3]", "expected a list of paths"), ('[""]', "a list of paths")],
)
def test_malformed_lists(text, part):
    with pytest.raises(WebGPUError, match="option data_files: ") as refused:
        executorch_webgpu.options(data_files=text)
    assert part in str(refused.value)


RESIDENT = """
import sys, torch
import executorch_webgpu as ew

def resident(key):
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows[key].split()[0]) / 1024

ew.load({small!r}, {small_data!r}).forward(torch.ones(4, 16))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # VmHWM counts from here
before = resident("VmRSS")
model = ew.load({big!r}, {big_data!r})
model.load_method()
print(resident("VmRSS") - before, resident("VmHWM") - before)
"""


def test_host_memory_is_given_back_while_files_are_read(deep, folder):
    """On a software adapter the GPU's copy is resident memory too."""
    megabytes, each = 160, 40

    class Big(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList(
                torch.randn(1024, 1024 * 10) for _ in range(megabytes // each)
            )

        def forward(self, x):
            for weight in self.weights:
                x = x + weight
            return x

    options = {"external_constants_max_data_bytes": 45 << 20}
    big = save(folder, "big", Big(), (torch.ones(1024, 1024 * 10),), options=options)
    assert len(big.ptds) == megabytes // each
    code = RESIDENT.format(
        small=str(deep.pte),
        small_data=[str(path) for path in deep.ptds],
        big=str(big.pte),
        big_data=[str(path) for path in big.ptds],
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after, at_most = map(float, done.stdout.split())
    software = executorch_webgpu.devices()["selected"]["type"] == "software"
    # The weights and, on a software adapter, the activations of the plan.
    on_device = megabytes + 2 * each if software else 0
    assert after < on_device + 60
    assert at_most < on_device + each + 100  # at no time more than one weight's pages


# --- The command ---


def test_the_command_takes_data_several_times(deep, tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", X.numpy())
    data = [f"--data={path}" for path in deep.ptds]
    run = ["run", str(deep.pte), f"--input={tmp_path / 'x.npy'}"]
    runner = CliRunner()
    assert "float32 [4, 16]" in runner.invoke(app, [*run, *data]).stdout
    assert "float32 [4, 16]" in runner.invoke(app, [*run, f"--data={deep.ptds[0].parent}"]).stdout
    refused = runner.invoke(app, [*run, data[0]])
    assert refused.exit_code == 1 and len(refused.stderr.splitlines()) == 1
    assert "several .ptd files" in refused.stderr
    shown = runner.invoke(app, ["inspect", str(deep.pte), *data])
    assert all(str(path) in shown.stdout for path in deep.ptds)


def test_bench_and_chat_take_data(folder, tiny):
    """A decoder whose delegates' weights are split; the tokenizer is another model's."""
    options = {"external_constants_max_data_bytes": 3_200_000}
    saved = save_decoder(folder, "decoder", EightBitEmbedding(49152), options)
    assert len(saved.ptds) >= 2
    data = f"--data={saved.ptds[0].parent}"
    benched = CliRunner().invoke(app, ["bench", str(saved.pte), "--repetitions=1", data])
    assert "| prefill | 63 |" in benched.stdout
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).symlink_to(tiny.parent / name)
    chat = ["chat", str(saved.pte), "--prompt", "Hi", "--max-tokens", "2"]
    assert "tok/s" in CliRunner().invoke(app, [*chat, data]).stderr
    for arguments in (["bench", str(saved.pte)], chat):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 1 and "data files read: none" in refused.stderr
