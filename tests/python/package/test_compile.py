"""`executorch-webgpu compile`: what it writes, and what it says of what it cannot."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch_webgpu.cli import app
from executorch_webgpu.compile import (
    ALIGNMENT,
    HEADER,
    parse_sizes,
    plan_program,
    write_compiled,
)
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.lowering import lower_program, quiet_upstream
from support.command import assert_one_sentence, command
from support.lowered import graph_of
from support.program import Saved, save
from typer.testing import CliRunner

runner = CliRunner()
ROWS = 6
METHODS = {"few": 1, "many": 9}  # and rows of each


class Mlp(torch.nn.Module):
    """Two layers of equal weights, and rows as many as a call brings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(24, 24)
        self.second = torch.nn.Linear(24, 24)
        self.second.load_state_dict(self.first.state_dict())

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compile")


@pytest.fixture(scope="module")
def mlp(folder: Path) -> Path:
    rows = {"x": {0: torch.export.Dim("rows", max=ROWS)}}
    constants = {"get_width": 24}
    inputs = (torch.ones(2, 24),)
    return save(folder, "mlp", Mlp(), inputs, dynamic_shapes=rows, constants=constants).pte


@pytest.fixture(scope="module")
def outside(folder: Path) -> Saved:
    """Of fixed sizes, with its weights in a file of their own."""
    options = {"external_constants_max_data_bytes": 1 << 30}
    return save(folder, "outside", Mlp(), (torch.ones(2, 24),), options=options)


class File:
    """A compiled file, read as docs/compiled.md says."""

    def __init__(self, path: Path) -> None:
        self.bytes = path.read_bytes()
        magic, version, size, json_bytes, uniform_bytes, checksum = HEADER.unpack_from(self.bytes)
        assert (magic, version, size) == (b"ETWG", 1, len(self.bytes))
        head = self.bytes[HEADER.size :][: json_bytes + uniform_bytes]
        assert zlib.crc32(head) == checksum
        self.head: dict[str, Any] = json.loads(head[:json_bytes])
        self.uniforms = head[json_bytes:]

    @property
    def constants(self) -> list[dict[str, Any]]:
        return [
            form
            for delegate in self.head["delegates"]
            for form in (*delegate["model"]["constants"], *delegate["model"]["states"])
        ]

    def sizes(self) -> list[list[list[int]]]:
        return [plan["sizes"] for delegate in self.head["delegates"] for plan in delegate["plans"]]


def compiled(program: Path, *sizes: str, **options: Any) -> File:
    target = program.with_name("out.etwg")
    write_compiled(plan_program(program, sizes, **options), target)
    return File(target)


def test_plans_for_the_sizes_asked_for(mlp: Path) -> None:
    file = compiled(mlp, "1x24", "5x24", "5x24")
    assert file.sizes() == [[[1, 24]], [[5, 24]]]
    methods = {method["name"]: method for method in file.head["methods"]}
    assert methods["get_width"]["outputs"][0]["value"] == 24
    assert methods["forward"]["inputs"][0]["sizes"] == [ROWS, 24]
    delegate = file.head["delegates"][0]
    assert (delegate["method"], delegate["number"]) == ("forward", 0)
    for plan in delegate["plans"]:
        assert plan["uniforms"] + plan["plan"]["uniform_bytes"] <= len(file.uniforms)
        for dispatch in plan["plan"]["dispatches"]:
            text = file.head["kernels"][delegate["kernels"][dispatch["kernel_index"]]]
            assert "@compute" in text
    assert len(set(file.head["kernels"])) == len(file.head["kernels"])


@pytest.fixture(scope="module")
def two_methods(folder: Path) -> Path:
    """Methods of different sizes over one layer."""
    layer = torch.nn.Linear(24, 24)
    graphs = {name: graph_of(layer, (torch.ones(rows, 24),)) for name, rows in METHODS.items()}
    with quiet_upstream(), torch.no_grad():
        program = lower_program(graphs)
    path = folder / "methods.pte"
    path.write_bytes(bytes(program.buffer))
    return path


def test_methods_share_equal_constants(two_methods: Path) -> None:
    file = compiled(two_methods)
    assert file.sizes() == [[[rows, 24]] for rows in METHODS.values()]
    assert len(file.constants) == 4
    assert len({form["offset"] for form in file.constants}) == 2
    assert compiled(two_methods, methods=["many"]).sizes() == [[[9, 24]]]
    assert compiled(two_methods, "many:9x24").sizes() == [[[9, 24]], [[1, 24]]]
    with pytest.raises(WebGPUError, match=r"one of methods few, many.*as in few:1x1"):
        compiled(two_methods, "1x24")


def test_constants_are_packed(mlp: Path) -> None:
    file = compiled(mlp, "1x24")
    for form in file.constants:
        assert form["offset"] % ALIGNMENT == 0
        assert form["offset"] + form["bytes"] <= len(file.bytes)
    (panels,) = [form for form in file.constants if form["bytes"] > 1024]
    stored = np.frombuffer(file.bytes, np.float32, panels["bytes"] // 4, panels["offset"])
    assert np.isin(Mlp().first.weight.detach().numpy(), stored).all()


def test_zeros_are_not_stored(folder: Path) -> None:
    class Zeros(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(300))

        def forward(self, x):
            return x + self.weight

    program = save(folder, "zeros", Zeros(), (torch.ones(300),)).pte
    file = compiled(program)
    assert [form["offset"] for form in file.constants] == [None]
    assert len(file.bytes) < HEADER.size + len(json.dumps(file.head)) + 1024


def test_weights_of_a_data_file_are_in_the_compiled_one(outside: Saved) -> None:
    assert outside.ptd is not None
    alone = compiled(outside.pte, data_path=outside.ptd)
    assert alone.sizes() == [[[2, 24]]]
    assert all(form["offset"] for form in alone.constants)
    target = outside.pte.with_name("missing.etwg")
    with pytest.raises(WebGPUError, match="neither in the program nor in a data file"):
        write_compiled(plan_program(outside.pte), target)
    assert not target.exists()


@pytest.mark.parametrize("with_data", [False, True], ids=["inside", "outside"])
def test_two_runs_write_the_same_bytes(with_data: bool, mlp: Path, outside: Saved) -> None:
    if with_data:
        runs = [compiled(outside.pte, data_path=outside.ptd).bytes for _ in range(2)]
    else:
        runs = [compiled(mlp, "2x24", "3x24").bytes for _ in range(2)]
    assert runs[0] == runs[1]


def test_capabilities_choose_kernels(mlp: Path, folder: Path) -> None:
    limits = folder / "limits.json"
    limits.write_text(json.dumps({"version": 1, "adapter_class": "software", "subgroups": True}))
    default, other = compiled(mlp, "1x24"), compiled(mlp, "1x24", limits=str(limits))
    assert default.head["capabilities"]["max_buffer_size"] == 256 << 20
    assert other.head["capabilities"]["adapter_class"] == "software"
    assert default.head["kernels"] != other.head["kernels"]
    own = compiled(mlp, "1x24", limits="adapter")
    assert own.head["capabilities"]["max_workgroup_invocations"] >= 256


@pytest.mark.parametrize(
    ("text", "method", "inputs"),
    [
        ("1x16", "", [[1, 16]]),
        ("1x16,-,3", "", [[1, 16], None, [3]]),
        ("prefill:1x64, 1", "prefill", [[1, 64], [1]]),
        ("a:b:0x2", "a:b", [[0, 2]]),
    ],
)
def test_sizes_are_read(text: str, method: str, inputs: list) -> None:
    assert parse_sizes(text) == {"method": method, "inputs": inputs}


# --- Mistakes ---


@pytest.mark.parametrize("text", ["", "1y2", "x", "1x", "-1", "1.5", "forward:", "1,,2", "1x٣"])
def test_sizes_that_are_none(text: str, mlp: Path) -> None:
    result = runner.invoke(app, ["compile", str(mlp), f"--sizes={text}"])
    assert_one_sentence(result, f"sizes {text!r} are not like 1x16")


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ([], "method 'forward' takes inputs of many sizes, at most [6, 24]: say with --sizes"),
        (["7x24"], "input 0 of method 'forward' takes sizes up to [6, 24], not [7, 24]"),
        (["24"], "takes sizes up to [6, 24], not [24]"),
        (["1x1x1x1x1x1x1x1x1"], "a list of lists of at most 8 extents"),
        (["4294967296x24"], "an extent in 'sizes' must be an integer from 0 to 2^31 - 1"),
        (["1x24,2"], "method 'forward' takes 1 inputs, but sizes for 2 were given"),
        (["backward:1x24"], "sizes are for method 'backward', but there is forward"),
    ],
)
def test_sizes_that_the_program_does_not_take(sizes: list, sentence: str, mlp: Path) -> None:
    target = mlp.with_name("refused.etwg")
    result = runner.invoke(
        app, ["compile", str(mlp), "-o", str(target), *[f"--sizes={one}" for one in sizes]]
    )
    assert_one_sentence(result, sentence)
    assert not target.exists()


def test_other_sizes_than_the_fixed_ones(outside: Saved) -> None:
    with pytest.raises(WebGPUError, match=r"takes sizes \[2, 24\], not \[1, 24\]"):
        compiled(outside.pte, "1x24", data_path=outside.ptd)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "does not hold capabilities"),
        ('{"version": 2}', "'version' must be 1"),
        ('{"subgroup": true}', "no member 'subgroup'"),
    ],
)
def test_limits_that_are_none(text: str, sentence: str, mlp: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(text)
    with pytest.raises(WebGPUError, match=sentence):
        compiled(mlp, "1x24", limits=str(limits))
    with pytest.raises(WebGPUError, match=r"no such file: .*none\.json"):
        compiled(mlp, "1x24", limits=str(tmp_path / "none.json"))


def test_a_method_that_is_not_there(mlp: Path) -> None:
    with pytest.raises(WebGPUError, match="no method 'prefill', but forward"):
        compiled(mlp, "1x24", methods=["prefill"])


def test_what_is_left_to_the_host(folder: Path) -> None:
    class Erf(torch.nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 0) * 2

    program = save(folder, "partly", Erf(), (torch.ones(4),), partly=True).pte
    with pytest.raises(WebGPUError, match="leaves aten::cumsum.out to ExecuTorch's kernels"):
        compiled(program)


def test_the_command(mlp: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.etwg"
    result = command("compile", mlp, "--sizes", "1x24", "--sizes", "4x24", "--output", target)
    assert result.returncode == 0, result.stderr
    assert f"Wrote {target}" in result.stderr
    assert File(target).sizes() == [[[1, 24]], [[4, 24]]]
    missing = command("compile", tmp_path / "no.pte")
    assert missing.returncode == 1
    assert "no such file" in missing.stderr


@pytest.mark.parametrize("seed", range(60))
def test_hostile_programs_are_sentences(seed: int, mlp: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = bytearray(mlp.read_bytes())
    if seed % 3 == 0:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(rng.randint(1, 20)):
            # Mostly among what is read, not among weights.
            most = len(data) if seed % 2 else min(len(data), 4096)
            data[rng.randrange(most)] = rng.randrange(256)
    program, target = tmp_path / "hostile.pte", tmp_path / "hostile.etwg"
    program.write_bytes(data)
    try:
        write_compiled(plan_program(program, ["2x24"]), target)
    except WebGPUError as error:
        assert str(error)
        assert "\n" not in str(error)
        assert not target.exists()
    else:
        File(target)
    assert list(tmp_path.glob(".*")) == []
