"""What a program that cannot be loaded is refused with: every operator that is missing, or what
ExecuTorch itself does not like of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import executorch_webgpu
import pytest
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import (
    deserialize_pte_binary,
    serialize_pte_binary,
)
from executorch.exir.dialects._ops import ops as exir_ops
from executorch_webgpu.cli import app
from executorch_webgpu.lowering import quiet_upstream
from support.command import assert_one_sentence
from support.program import save
from torch import nn
from typer.testing import CliRunner

runner = CliRunner()


class Waves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(torch.cos(torch.sin(x)))


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("waves"), "waves", Waves(), (torch.ones(2, 3),)).pte


def first_tensor(program: Any) -> Any:
    values = program.execution_plan[0].values
    return next(v.val for v in values if type(v.val).__name__ == "Tensor")


def reorder(program: Any) -> None:
    first_tensor(program).dim_order = [0, 0]


def shorten(program: Any) -> None:
    first_tensor(program).dim_order = []


def misplace(program: Any) -> None:
    first_tensor(program).allocation_info.memory_offset_low = 1 << 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (reorder, "Invalid dim order: values must be a permutation of [0, 2)"),
        (shorten, "dim_order size 0 != dim 2"),
        (misplace, "offset_bytes (1048576) + size_bytes (24) >= allocator size"),
    ],
)
def test_what_executorch_refuses(
    waves: Path, tmp_path: Path, change: Callable[[Any], None], sentence: str
) -> None:
    file = deserialize_pte_binary(waves.read_bytes())
    change(file.program)
    path = tmp_path / "changed.pte"
    path.write_bytes(bytes(serialize_pte_binary(file)))
    result = runner.invoke(app, ["run", str(path)])
    assert_one_sentence(result, f"ExecuTorch cannot load method 'forward': {sentence}")
    assert "(Failed parsing tensor at index" in result.stderr
    # The next program is none the worse.
    executorch_webgpu.load(waves).forward(torch.ones(2, 3))


# --- Operators that are missing: names of this runtime's, misspelt in the file ---


def misspelt(path: Path, target: Path, *names: tuple[bytes, bytes]) -> Path:
    data = path.read_bytes()
    for name, other in names:
        assert name in data and len(name) == len(other)
        data = data.replace(name, other)
    target.write_bytes(data)
    return target


SINE = "aten.sim.default (calls 0, 2)"
COSINE = "aten.coz.default (call 1)"


def test_all_that_are_missing_are_named(waves: Path, tmp_path: Path) -> None:
    names = (b"aten.sin.default", b"aten.sim.default"), (b"aten.cos.default", b"aten.coz.default")
    path = misspelt(waves, tmp_path / "misspelt.pte", *names)
    result = runner.invoke(app, ["run", str(path)])
    way_round = "export it again with aten.sim.default, aten.coz.default in the partitioner's "
    assert_one_sentence(result, SINE, COSINE, f"{way_round}operator_blocklist")
    rows = executorch_webgpu.inspect(path)["methods"][0]["delegates"][0]["operators"]
    assert {row["name"]: row["supported"] for row in rows} == {
        "aten.sim.default": False,
        "aten.coz.default": False,
    }
    rows = executorch_webgpu.inspect(waves)["methods"][0]["delegates"][0]["operators"]
    assert all(row["supported"] for row in rows)


class Parts(nn.Module):
    """Two delegates, with what stays ExecuTorch's in between."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cos(torch.topk(torch.sin(x), 2)[0])


def test_in_all_delegates(tmp_path: Path) -> None:
    parts = save(tmp_path, "parts", Parts(), (torch.ones(2, 3),), partly=True).pte
    names = (b"aten.sin.default", b"aten.sim.default"), (b"aten.cos.default", b"aten.coz.default")
    path = misspelt(parts, tmp_path / "misspelt.pte", *names)
    first = "method 'forward', delegate 0: operators that are not supported: aten.sim.default"
    second = "method 'forward', delegate 1: operators that are not supported: aten.coz.default"
    assert_one_sentence(runner.invoke(app, ["run", str(path)]), first, second)


class Norm(nn.Module):
    """What the exporter makes et_vk.rms_norm of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def test_the_way_round_works(waves: Path, tmp_path: Path) -> None:
    """What is in the lists is not in a delegate, though the exporter makes one operator of it."""

    def operators(module: nn.Module, x: torch.Tensor, **lists: Any) -> set[str]:
        partitioner = VulkanPartitioner(**lists)
        with quiet_upstream():
            exported = torch.export.export(module, (x,))
            edge = to_edge_transform_and_lower(exported, partitioner=[partitioner])
        path = tmp_path / "listed.pte"
        path.write_bytes(edge.to_executorch().buffer)
        delegates = executorch_webgpu.inspect(path)["methods"][0]["delegates"]
        return {row["name"] for delegate in delegates for row in delegate["operators"]}

    sine = exir_ops.edge.aten.sin.default
    assert operators(Waves(), torch.ones(2, 3), operator_blocklist=[sine]) == {"aten.cos.default"}
    assert operators(Norm(), torch.ones(2, 8)) == {"et_vk.rms_norm.default"}
    assert operators(Norm(), torch.ones(2, 8), nn_module_blocklist=["Norm"]) == set()
