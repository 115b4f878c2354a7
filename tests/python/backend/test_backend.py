"""The backend under the stock ExecuTorch runtime: dtypes, sizes, state, errors, threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import executorch_webgpu
import pytest
import torch
from executorch.runtime import Runtime
from support.program import Saved, save, stock_forward
from torch import nn

ROWS = torch.export.Dim("rows", max=16)


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.up = nn.Linear(12, 20)
        self.down = nn.Linear(20, 5)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


class Types(nn.Module):
    def forward(self, i, h, flag, n):
        return i + 1, h * 2, torch.logical_not(flag), n + n


class Sum(nn.Module):
    """A running sum kept on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4, 8))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


class Broken(nn.Module):
    """Two delegates around an operator of the host, and one output twice."""

    def forward(self, x):
        y = torch.sigmoid(x * 2)
        z = torch.cumsum(y, 0) * 3 + y
        return z, z


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def add(folder) -> Saved:
    return save(folder, "add", Add(), (torch.ones(3, 4), torch.ones(4)))


@pytest.fixture(scope="module")
def mlp(folder) -> Saved:
    return save(folder, "mlp", Mlp(), (torch.ones(2, 12),), dynamic_shapes={"x": {0: ROWS}})


@pytest.fixture(scope="module")
def types(folder) -> Saved:
    flags = torch.zeros(5, dtype=torch.bool)
    ints = torch.zeros(5, dtype=torch.int32)
    return save(folder, "types", Types(), (ints, torch.ones(5).half(), flags, ints.long()))


@pytest.fixture(scope="module")
def summing(folder) -> Saved:
    options = {"alias_buffer_mutations": True}
    return save(folder, "sum", Sum(), (torch.ones(4, 8),), options=options)


@pytest.fixture(scope="module")
def external(folder) -> Saved:
    options = {"external_constants_max_data_bytes": 1 << 30}
    return save(folder, "external", Mlp(), (torch.ones(2, 12),), options=options)


def failing(call, *inputs) -> str:
    """The backend's sentence about a call that must fail."""
    executorch_webgpu.native.library().clear_error()
    with pytest.raises(RuntimeError):
        call(*inputs)
    return executorch_webgpu.last_error()


def test_backend_is_registered():
    registry = Runtime.get().backend_registry
    assert "VulkanBackend" in registry.registered_backend_names
    assert registry.is_available("VulkanBackend")


def test_static_program(add):
    a, b = torch.randn(3, 4), torch.randn(4)
    (out,) = stock_forward(add)(a, b)
    torch.testing.assert_close(out, a + b, rtol=0, atol=0)


def test_outputs_follow_the_live_sizes(mlp):
    forward, eager = stock_forward(mlp), Mlp().eval()
    for rows in (2, 16, 1, 7, 16, 3):
        x = torch.randn(rows, 12)
        (out,) = forward(x)
        assert out.shape == (rows, 5)
        torch.testing.assert_close(out, eager(x), rtol=1e-5, atol=1e-5)


def test_dtypes_in_and_out(types):
    i = torch.tensor([-(2**31), -1, 0, 1, 2**31 - 2], dtype=torch.int32)
    h = torch.tensor([0.1, -2.5, 0, 6e-8, 1000]).half()
    flag = torch.tensor([True, False, True, True, False])
    n = torch.tensor([-(2**30), -1, 0, 5, 2**30 - 1])
    outputs = stock_forward(types)(i, h, flag, n)
    for out, expected in zip(outputs, (i + 1, h * 2, ~flag, n + n), strict=True):
        assert out.dtype == expected.dtype
        torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_int64_beyond_int32(types):
    forward = stock_forward(types)
    others = (torch.zeros(5, dtype=torch.int32), torch.ones(5).half(), torch.ones(5).bool())
    n = torch.tensor([0, 2**31, 2**40, -(2**50), 21])
    assert forward(*others, n)[3].tolist() == (n + n).tolist()


def test_mutable_buffer_keeps_its_state(summing):
    first, second = stock_forward(summing), stock_forward(summing)
    one = torch.ones(4, 8)
    assert first(one)[0].unique().tolist() == [2]
    assert first(one)[0].unique().tolist() == [4]
    assert second(one)[0].unique().tolist() == [2], "every method has a state of its own"
    assert first(one)[0].unique().tolist() == [6]


def test_delegates_around_host_operators(folder):
    saved = save(folder, "broken", Broken(), (torch.ones(5, 3),), partly=True)
    (method,) = executorch_webgpu.inspect(saved.pte)["methods"]
    assert len(method["delegates"]) == 2
    assert method["kernel_calls"] >= 1
    x = torch.randn(5, 3)
    for out in stock_forward(saved)(x):
        torch.testing.assert_close(out, Broken()(x)[0], rtol=1e-5, atol=1e-5)


def test_half_precision_cache(tiny):
    def cache_bytes() -> int:
        (method,) = executorch_webgpu.inspect(tiny)["methods"]
        return method["delegates"][0]["memory"]["state_bytes"]

    def logits() -> list[torch.Tensor]:
        model = executorch_webgpu.load(tiny)
        inputs = ((torch.arange(1, 10)[None], 0), (torch.tensor([[7]]), 9), (torch.ones(1, 3), 10))
        return [model.forward(t.long(), torch.tensor([p]))[0] for t, p in inputs]

    full, full_bytes = logits(), cache_bytes()
    executorch_webgpu.options(kv_cache_dtype="f16")
    try:
        half, half_bytes = logits(), cache_bytes()
    finally:
        executorch_webgpu.native.library().set_option("kv_cache_dtype", "")
    assert half_bytes * 2 == full_bytes
    for a, b in zip(half, full, strict=True):
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0, atol=0.05)


def test_sequence_above_the_bound(mlp):
    forward = stock_forward(mlp)
    with pytest.raises(RuntimeError):
        forward(torch.ones(17, 12))
    (out,) = forward(torch.ones(16, 12))
    assert out.shape == (16, 5)


def test_external_weights(external):
    assert external.ptd is not None
    x = torch.randn(2, 12)
    (out,) = stock_forward(external)(x)
    torch.testing.assert_close(out, Mlp().eval()(x), rtol=1e-5, atol=1e-5)


def test_missing_external_weights_are_explained(external):
    error = failing(lambda: stock_forward(Saved(external.pte)))
    assert ".ptd" in error
    with pytest.raises(executorch_webgpu.WebGPUError, match=r"\.ptd"):
        executorch_webgpu.load(external.pte).forward(torch.ones(2, 12))
    test_external_weights(external)


def test_wrong_external_weights_are_explained(external, folder):
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(x)

    options = {"external_constants_max_data_bytes": 1 << 30}
    other = save(folder, "other", Other(), (torch.ones(1, 3),), options=options)
    error = failing(lambda: stock_forward(Saved(external.pte, other.ptd)))
    assert "weight '" in error
    assert ".ptd" in error


def test_programs_interleave(add, mlp, summing):
    sums, eager = torch.zeros(4, 8), Mlp().eval()
    programs = stock_forward(add), stock_forward(mlp), stock_forward(summing)
    for step in range(6):
        a, b, x = torch.randn(3, 4), torch.randn(4), torch.randn(1 + step, 12)
        s = torch.full((4, 8), float(step))
        sums += s
        torch.testing.assert_close(programs[0](a, b)[0], a + b)
        torch.testing.assert_close(programs[1](x)[0], eager(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(programs[2](s)[0], sums * 2)


def test_threads_with_programs_of_their_own(mlp, summing):
    eager = Mlp().eval()
    problems: list[str] = []

    def work(seed: int) -> None:
        try:
            generator = torch.Generator().manual_seed(seed)
            forward, summed = stock_forward(mlp), stock_forward(summing)
            for step in range(8):
                x = torch.randn(1 + (seed + step) % 16, 12, generator=generator)
                torch.testing.assert_close(forward(x)[0], eager(x), rtol=1e-5, atol=1e-5)
                value = summed(torch.ones(4, 8))[0]
                assert value.unique().tolist() == [2 * (step + 1)]
        except Exception as error:
            problems.append(f"{seed}: {error!r}")

    with torch.no_grad():
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems


def test_last_error_belongs_to_its_thread(external):
    failing(lambda: stock_forward(Saved(external.pte)))
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(executorch_webgpu.last_error()))
    thread.start()
    thread.join()
    assert seen == [""]


def test_the_latest_delegates_belong_to_their_thread(library, add, folder):
    broken = save(folder, "two_delegates", Broken(), (torch.ones(5, 3),), partly=True)
    loaded = [stock_forward(add), stock_forward(broken)]
    loaded[1](torch.randn(5, 3))
    counts = [len(library.latest_delegates(most)) for most in (0, 1, 2, 3, 9)]
    assert counts[:4] == [0, 1, 2, 3]
    first, second = library.latest_delegates(2)
    # In the order of loading: a sigmoid comes before the host's operator, no sigmoid after it.
    assert [d["call"] for d in first.profile()["dispatches"]][-1] == "aten.sigmoid.default"
    assert "aten.sigmoid.default" not in [d["call"] for d in second.profile()["dispatches"]]
    seen = []
    thread = threading.Thread(target=lambda: seen.append(library.latest_delegates(9)))
    thread.start()
    thread.join()
    assert seen == [[]]
    del first, second
    loaded.clear()
    gc.collect()
    assert len(library.latest_delegates(9)) == counts[4] - 3


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


RUN_ADD = """
import sys, torch, executorch_webgpu as ew
try:
    model = ew.load(sys.argv[1])
    print(model.forward(torch.ones(3, 4), torch.ones(4))[0].unique().tolist())
except ew.WebGPUError as error:
    print("error:", error)
"""


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ETWEBGPU_PROVIDER", "/nowhere/libwebgpu.so", "/nowhere/libwebgpu.so"),
        ("ETWEBGPU_ADAPTER", "Voodoo 2", "Voodoo 2"),
        ("ETWEBGPU_KV_CACHE_DTYPE", "f8", "kv_cache_dtype: expected f32 or f16, got 'f8'"),
        ("ETWEBGPU_MEMORY_LIMIT", "16", "memory"),
    ],
)
def test_environment_options(add, variable, value, expected):
    code = RUN_ADD.replace("sys.argv[1]", repr(str(add.pte)))
    done = in_a_process(code, **{variable: value})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("error:")
    assert expected in done.stdout


def test_both_providers_run(add):
    code = RUN_ADD.replace("sys.argv[1]", repr(str(add.pte)))
    for provider in ("dawn", "wgpu-native"):
        done = in_a_process(code, ETWEBGPU_PROVIDER=provider)
        assert done.stdout == "[2.0]\n", (provider, done.stdout, done.stderr)


def test_set_option_comes_before_the_environment(add):
    code = f"""
import executorch_webgpu as ew
ew.options(provider="wgpu-native")
{RUN_ADD.replace("sys.argv[1]", repr(str(add.pte)))}
print(ew.devices()["selected"]["provider"])
"""
    done = in_a_process(code, ETWEBGPU_PROVIDER="/nowhere/libwebgpu.so")
    assert done.stdout == "[2.0]\nwgpu-native\n", done.stderr


def test_an_error_leaves_the_process_usable(add, external):
    forward = stock_forward(add)
    for _ in range(3):
        failing(lambda: stock_forward(Saved(external.pte)))
        assert forward(torch.ones(3, 4), torch.ones(4))[0].unique().tolist() == [2]


RESIDENT = """
import sys, torch
import executorch_webgpu as ew

def resident():
    with open("/proc/self/status") as file:
        rows = dict(line.split(":", 1) for line in file)
    return int(rows["VmRSS"].split()[0]) / 1024

small = ew.load({small!r})
small.forward(torch.ones(3, 4), torch.ones(4))
before = resident()
model = ew.load({big!r})
model.load_method()
print(resident() - before)
"""


def test_host_memory_of_weights_is_given_back(folder, add):
    """On a software adapter the GPU's copy is resident memory too: it is taken off."""
    megabytes = 200

    class Big(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList(
                torch.randn(1024, 1024 * 10) for _ in range(megabytes // 40)
            )

        def forward(self, x):
            for weight in self.weights:
                x = x + weight
            return x

    big = save(folder, "big", Big(), (torch.ones(1024, 1024 * 10),))
    code = RESIDENT.format(small=str(add.pte), big=str(big.pte))
    done = in_a_process(code)
    assert done.returncode == 0, done.stderr
    software = executorch_webgpu.devices()["selected"]["type"] == "software"
    # The weights and, on a software adapter, the activations of the plan.
    on_device = megabytes + 2 * 40 if software else 0
    assert float(done.stdout) < on_device + 100
