"""Profiling through ExecuTorch's own tools: every dispatch is an event of ETDump."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import executorch_webgpu
import pytest
import torch
from executorch.devtools import Inspector
from executorch.runtime import Runtime
from support.program import Saved, save
from torch import nn


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.arange(1.0, 65.0))

    def forward(self, x):
        return torch.sigmoid(x * self.factors).sum(dim=-1)


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Saved:
    inputs = (torch.ones(32, 64),)
    return save(tmp_path_factory.mktemp("programs"), "chain", Chain(), inputs)


def events(saved: Saved, folder: Path, runs: int) -> list[Any]:
    program = Runtime.get().load_program(saved.pte, enable_etdump=True, debug_buffer_size=1 << 20)
    method = program.load_method("forward")
    assert method is not None
    for _ in range(runs):
        method.execute([torch.ones(32, 64)])
    dump = folder / "etdump.etdp"
    program.write_etdump_result_to_file(str(dump), str(folder / "debug.bin"))
    blocks = Inspector(etdump_path=str(dump)).event_blocks
    (block,) = [b for b in blocks if b.name == "Execute"]
    return [e for e in block.events if e.is_delegated_op]


def test_every_dispatch_is_an_event(chain, tmp_path):
    features = executorch_webgpu.devices()["selected"]["features"]
    found = events(chain, tmp_path, runs=3)
    if "timestamp-query" not in features:
        assert [e.name for e in found] == ["webgpu execute"]
        return
    plan = executorch_webgpu.inspect(chain.pte)["methods"][0]["delegates"][0]["plans"][0]
    assert len(found) == plan["dispatch_count"]
    for i, (event, dispatch) in enumerate(zip(found, plan["dispatches"], strict=True)):
        kernel = dispatch["kernel"].split("[")[0]
        assert event.name == f"{i} {dispatch['call']} {kernel}"
        assert len(event.perf_data.raw) == 3
        assert all(0 <= t < 1000 for t in event.perf_data.raw)
        details = json.loads(event._delegate_debug_metadatas[0])
        assert details == {"kernel": dispatch["kernel"], "grid": dispatch["grid"]}


def test_results_are_the_same_while_profiling(chain):
    x = torch.randn(32, 64)
    program = Runtime.get().load_program(chain.pte, enable_etdump=True)
    method = program.load_method("forward")
    assert method is not None
    torch.testing.assert_close(method.execute([x])[0], Chain()(x), rtol=1e-5, atol=1e-4)
