"""The C interface: options, providers, devices, inspection, models without ExecuTorch."""

from __future__ import annotations

import ctypes
import json
import threading
import time
from pathlib import Path
from typing import Any

import executorch_webgpu
import pytest
import torch
from executorch_webgpu import WebGPUError
from support.attention import Shape, sdpa_model
from support.capi import Model, ModelError
from support.delegate import GraphBuilder
from support.options import option
from support.program import Saved, save
from torch import nn

F32 = torch.float32


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.arange(1.0, 9.0))

    def forward(self, x):
        return x * self.factors + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def scale(folder) -> Saved:
    rows = torch.export.Dim("rows", max=6)
    inputs = (torch.ones(3, 8),)
    constants = {"get_max_seq_len": 128, "use_kv_cache": True, "get_eos_ids": [2, 7]}
    return save(
        folder, "scale", Scale(), inputs, dynamic_shapes={"x": {0: rows}}, constants=constants
    )


@pytest.fixture(scope="module")
def external(folder) -> Saved:
    options = {"external_constants_max_data_bytes": 1 << 30}
    return save(folder, "external", Scale(), (torch.ones(3, 8),), options=options)


@pytest.fixture
def c(library) -> Any:
    functions = ctypes.CDLL(str(library.path))
    functions.etwg_last_error.restype = ctypes.c_char_p
    functions.etwg_inspect_json.restype = ctypes.c_char_p
    functions.etwg_model_load.restype = ctypes.c_void_p
    functions.etwg_model_profile_json.restype = ctypes.c_char_p
    functions.etwg_clear_error()
    return functions


def adder() -> tuple[bytes, dict[str, bytes]]:
    graph = GraphBuilder()
    x = graph.input(F32, (4, 8))
    factors = graph.prepack(torch.arange(8.0))
    product = graph.call("aten.mul.Tensor", x, factors, out=(F32, (4, 8)))
    graph.output(graph.call("aten.add.Tensor", product, x, 1, out=(F32, (4, 8))))
    delegate = graph.delegate()
    return delegate.blob, delegate.named


def test_unknown_option_names_the_known_ones(c):
    assert c.etwg_set_option(b"colour", b"red") != 0
    error = c.etwg_last_error().decode()
    assert "unknown option 'colour'" in error
    assert "provider, adapter, profiling, kv_cache_dtype, matmul_dtype, memory_limit" in error
    assert "trusted, self_test, shared_states, data_files" in error


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profiling", "maybe"),
        ("kv_cache_dtype", "f8"),
        ("matmul_dtype", "f64"),
        ("trusted", "yes"),
        ("self_test", "always"),
        ("memory_limit", "-1"),
    ],
)
def test_bad_option_values_are_named(c, key, value):
    assert c.etwg_set_option(key.encode(), value.encode()) != 0
    assert key in c.etwg_last_error().decode()
    assert f"'{value}'" in c.etwg_last_error().decode()
    assert c.etwg_set_option(key.encode(), b"") == 0


def test_null_arguments_are_refused(c):
    tensor = ctypes.c_char * 256
    calls = [
        lambda: c.etwg_set_option(None, b"1"),
        lambda: c.etwg_register_provider(None, None, None, 0),
        lambda: c.etwg_register_provider(b"x", None, None, 3),
        lambda: c.etwg_register_provider_library(b"x", None),
        lambda: c.etwg_inspect_json(None, None, None) is None,
        lambda: c.etwg_model_load(None, ctypes.c_size_t(0), None, ctypes.c_size_t(0)) is None,
        lambda: c.etwg_model_execute(None, tensor(), ctypes.c_size_t(0), tensor(), 0),
        lambda: c.etwg_model_profile_json(None) is None,
    ]
    for call in calls:
        c.etwg_clear_error()
        assert call()
        assert c.etwg_last_error() != b""
    assert c.etwg_model_input_count(None) == 0
    c.etwg_model_free(None)


def test_clear_error(c):
    c.etwg_set_option(b"colour", b"red")
    assert c.etwg_last_error() != b""
    c.etwg_clear_error()
    assert c.etwg_last_error() == b""


def test_devices():
    found = executorch_webgpu.devices()
    assert {p["name"] for p in found["providers"]} >= {"dawn", "wgpu-native"}
    selected = found["selected"]
    assert selected["type"] in ("discrete", "integrated", "software")
    assert selected["limits"]["maxStorageBuffersPerShaderStage"] >= 8
    assert any(
        adapter["index"] == selected["index"]
        for provider in found["providers"]
        for adapter in provider["adapters"]
    )


def test_model_runs_and_reports_its_dispatches():
    blob, named = adder()
    with Model(blob, named, [4 * 8 * 4]) as model:
        assert model.counts == (1, 1)
        with pytest.raises(ModelError, match="has not been executed"):
            model.profile()
        for rows in (4, 1, 3):
            x = torch.randn(rows, 8)
            started = time.perf_counter()
            (got,) = model.run(x)
            elapsed = time.perf_counter() - started
            torch.testing.assert_close(got, x * torch.arange(8.0) + x)
            profile = model.profile()
            host = profile["host_microseconds"]
            assert sorted(host) == ["ahead", "encode", "prepare", "read", "wait"]
            assert min(host.values()) > 0
            assert sum(host.values()) < elapsed * 1e6
            assert profile["outputs"][0]["sizes"] == [rows, 8]
            assert profile["dispatch_count"] == len(profile["dispatches"]) >= 1
            assert profile["gpu_bytes"] > 0


def test_profiling_times_every_dispatch():
    blob, named = adder()
    with option("profiling", "1"):
        model = Model(blob, named, [4 * 8 * 4])
    model.run(torch.ones(4, 8))
    features = executorch_webgpu.devices()["selected"]["features"]
    for dispatch in model.profile()["dispatches"]:
        assert ("microseconds" in dispatch) == ("timestamp-query" in features)


def test_memory_limit():
    blob, named = adder()
    with option("memory_limit", "16"), pytest.raises(ModelError, match="16"):
        Model(blob, named, [128])
    Model(blob, named, [128]).close()


def test_memory_limit_says_what_would_fit():
    shape = Shape(4, 4, 64, capacity=512, tokens=1)
    states = 2 * 4 * 64 * 512 * 4
    limit = str(states // 2 + 4096)
    refusal = (
        f"0 bytes of weights and {states} of states, which the option kv_cache_dtype f16 makes "
    )
    with option("memory_limit", limit), pytest.raises(ModelError, match=refusal + str(states // 2)):
        sdpa_model(shape)
    with option("memory_limit", limit), option("kv_cache_dtype", "f16"):
        sdpa_model(shape).close()


def test_memory_limit_says_what_an_embedding_takes():
    g = GraphBuilder()
    indices = g.input(torch.int32, (1, 4))
    args = (g.constant(torch.ones(64, 32)), indices, -1, False, False)
    for _ in range(2):  # one table counts once
        g.output(g.call("aten.embedding.default", *args, out=(F32, (1, 4, 32))))
    refusal = f"its embedding has {64 * 32 * 4} bytes, and {64 * (16 + 4)} in 4 bits"
    with option("memory_limit", "4096"), pytest.raises(ModelError, match=refusal):
        g.load()
    g.load().close()


def test_missing_and_short_weights_are_named():
    blob, named = adder()
    (key,) = named
    with pytest.raises(ModelError, match=f"weight '{key}': not among the 0 named data"):
        Model(blob, {}, [128])
    with pytest.raises(ModelError, match=f"weight '{key}' has 7 bytes, but the graph needs 32"):
        Model(blob, {key: named[key][:7]}, [128])


def test_wrong_calls_leave_the_model_usable():
    blob, named = adder()
    model = Model(blob, named, [128])
    for inputs in ((), (torch.ones(5, 8),), (torch.ones(4, 7),), (torch.ones(4, 8).int(),), (3,)):
        with pytest.raises(ModelError):
            model.run(*inputs)
        assert model.run(torch.ones(4, 8))[0][:, 7].tolist() == [8.0] * 4


def test_output_without_room_is_refused():
    blob, named = adder()
    model = Model(blob, named, [100])
    with pytest.raises(ModelError, match=r"output 0 of sizes \[4, 8\] needs 128 bytes"):
        model.run(torch.ones(4, 8))
    assert model.run(torch.ones(3, 8))[0].shape == (3, 8)


def test_threads_share_a_model():
    blob, named = adder()
    model = Model(blob, named, [128])
    problems: list[str] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for step in range(20):
            x = torch.randn(1 + (seed + step) % 4, 8, generator=generator)
            if not torch.allclose(model.run(x)[0], x * torch.arange(8.0) + x):
                problems.append(f"{seed} {step}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_inspect(scale):
    found = executorch_webgpu.inspect(scale.pte)
    assert found["bytes"] == scale.pte.stat().st_size
    assert found["constants"]["get_max_seq_len"] == 128
    assert found["constants"]["use_kv_cache"] is True
    (method,) = found["methods"]
    assert method["name"] == "forward"
    assert method["inputs"] == [{"type": "float32", "sizes": [6, 8], "dynamic": True}]
    (delegate,) = method["delegates"]
    assert delegate["backend"] == "VulkanBackend"
    assert sum(row["calls"] for row in delegate["operators"]) == len(delegate["graph"]["calls"])
    assert {row["name"] for row in delegate["operators"]} >= {"aten.mul.Tensor", "aten.add.Tensor"}
    assert any(row["sizes"] == [8] and row["bytes"] == 32 for row in delegate["weights"])
    assert all(row["stored"] for row in delegate["weights"])
    assert delegate["memory"]["constant_bytes"] >= 32
    plan = delegate["plans"][0]
    assert plan["inputs"][0]["sizes"] == [6, 8]
    assert plan["slot_bytes"] == sum(plan["slots"])
    assert 0 < plan["slot_bytes"] <= delegate["memory"]["exporter_slot_bytes"]
    assert plan["dispatch_count"] == len(plan["dispatches"]) > 0
    assert all(len(dispatch["grid"]) == 3 for dispatch in plan["dispatches"])


def test_inspect_for_other_adapters_and_sizes(scale):
    for adapter in ("discrete", "integrated", "software"):
        settings = {"adapter": adapter, "sizes": [[2, 8]]}
        found = executorch_webgpu.inspect(scale.pte, settings=settings)
        assert found["planned_for"]["type"] == adapter
        plans = found["methods"][0]["delegates"][0]["plans"]
        assert plans[-1]["for"] == "the given sizes"
        assert plans[-1]["outputs"][0]["sizes"] == [2, 8]


def test_inspect_shows_a_kernel_as_it_is_compiled(scale):
    for number, shown in (0, True), (99, False):
        found = executorch_webgpu.inspect(scale.pte, settings={"kernel": number})
        for plan in found["methods"][0]["delegates"][0]["plans"]:
            assert ("@compute" in plan.get("wgsl", "")) == shown


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"adapter": "voodoo"}, "discrete, integrated or software"),
        ({"sizes": 3}, "must be a list"),
        ({"sizes": [[-1]]}, "extent"),
        ({"sizes": [[1] * 9]}, "at most 8 extents"),
        ({"kernel": -1}, "number of a dispatch"),
        ({"kernel": "first"}, "number of a dispatch"),
    ],
)
def test_inspect_names_wrong_settings(scale, settings, expected):
    with pytest.raises(WebGPUError, match=expected):
        executorch_webgpu.inspect(scale.pte, settings=settings)


@pytest.mark.parametrize("text", [b"", b"{", b"[1,", b'{"a" 1}', b"[" * 100, b"{} x", b'"\\q"'])
def test_inspect_refuses_malformed_settings(c, scale, text):
    assert c.etwg_inspect_json(bytes(scale.pte), None, text) is None
    assert c.etwg_last_error().startswith(b"JSON: ")


def test_inspect_tells_wrong_sizes_apart(scale):
    found = executorch_webgpu.inspect(scale.pte, settings={"sizes": [[7, 8]]})
    assert "error" in found["methods"][0]["delegates"][0]["plans"][-1]
    found = executorch_webgpu.inspect(scale.pte, settings={"sizes": [[1], [2]]})
    assert "2 inputs" in found["methods"][0]["delegates"][0]["plans"][-1]["error"]


def test_inspect_shows_where_weights_are(external):
    def stored(found: dict[str, Any]) -> set[bool]:
        return {row["stored"] for row in found["methods"][0]["delegates"][0]["weights"]}

    assert stored(executorch_webgpu.inspect(external.pte)) == {False}
    assert stored(executorch_webgpu.inspect(external.pte, external.ptd)) == {True}


def test_inspect_refuses_other_files(c, tmp_path, scale):
    data = scale.pte.read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"not a program " * 40,
        "short": data[:100],
        "half": data[: len(data) // 2],
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert c.etwg_inspect_json(bytes(path), None, None) is None
        assert str(path) in c.etwg_last_error().decode()
    assert c.etwg_inspect_json(bytes(tmp_path / "none"), None, None) is None
    assert b"No such file" in c.etwg_last_error()
    assert c.etwg_inspect_json(bytes(tmp_path), None, None) is None
    assert json.loads(c.etwg_inspect_json(bytes(scale.pte), None, None))["methods"]
