"""A graph's plan is the same in the browser's build of the core and in the native one, to a byte.

So is everything else that a page gets of it. scripts/build_wasm.sh makes the one build and
`cmake --build build/tests` the other.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.case_files import Case, read_case, read_indices
from support.core import Core, CoreError, CoreModel, LiveInput, NativeBuild, WasmBuild
from support.decoder import DecoderGraph, random_sizes
from support.expected import Array
from support.paths import REPOSITORY

SAMPLES = REPOSITORY / "build/wasm/samples"
CASES = Path(os.environ.get("ETWEBGPU_CASES", REPOSITORY / "build/cases"))
EVERY = 10  # of the operators' cases

# What adapters of each class offer; of the last, what WebGPU guarantees.
_ROOMY = {
    "version": 1,
    "max_buffer_size": 4 << 30,
    "max_storage_binding": 2 << 30,
    "max_storage_buffers": 16,
    "max_workgroup_invocations": 1024,
    "max_workgroup_size": [1024, 1024, 64],
    "max_workgroup_storage": 32768,
    "storage_alignment": 32,
    "uniform_alignment": 64,
    "subgroups": True,
    "f16": True,
    "packed_products": True,
    "timestamps": True,
}
DEVICES: dict[str, dict[str, Any]] = {
    "discrete": {
        **_ROOMY,
        "adapter_class": "discrete",
        "min_subgroup_size": 32,
        "max_subgroup_size": 32,
        "matrix_size": 16,
        "matrix_products_from": 1,
        "few_rows_from": 1,
        "byte_products_from": 1,
    },
    "integrated": {
        **_ROOMY,
        "adapter_class": "integrated",
        "dialect": "naga",
        "max_storage_binding": 1 << 16,  # tensors are bound in pieces
        "min_subgroup_size": 8,
        "max_subgroup_size": 32,
    },
    "software": {
        **_ROOMY,
        "adapter_class": "software",
        "min_subgroup_size": 8,
        "max_subgroup_size": 8,
    },
    "least": {"version": 1, "adapter_class": "discrete"},
}
on_every_device = pytest.mark.parametrize("device", DEVICES)

Transcript = Iterator[tuple[str, bytes]]


@pytest.fixture(scope="module")
def builds() -> tuple[Core, Core]:
    return Core(NativeBuild()), Core(WasmBuild())


def check_same(builds: tuple[Core, Core], transcript: Callable[[Core], Transcript]) -> int:
    """Compare what both builds say, to the first difference; bytes that were compared."""
    compared = 0
    native, wasm = (transcript(core) for core in builds)
    for (what, expected), (_, got) in zip(native, wasm, strict=True):
        if got != expected:
            pytest.fail(f"{what} of the two builds differs: {difference(got, expected)}")
        compared += len(got)
    return compared


def difference(got: bytes, expected: bytes) -> str:
    """What is around the first byte that differs."""
    pairs = enumerate(zip(got, expected, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(got), len(expected)))
    around = slice(max(at - 60, 0), at + 60)
    return f"at {at}, {got[around]!r} instead of {expected[around]!r}"


# --- A delegate on a device ------------------------------------------------------------------


@dataclass(frozen=True)
class Graph:
    blob: bytes
    data: Mapping[str, bytes]
    calls: Sequence[tuple[Sequence[LiveInput], bool]]  # with 64-bit integers or without
    options: Mapping[str, str]

    def bytes_of(self, constants_at: int, key: str, offset: int, length: int) -> bytes:
        if key:
            return self.data.get(key, b"").ljust(length, b"\0")  # cases of missing weights
        return self.blob[constants_at + offset : constants_at + offset + length]


def compile_graph(core: Core, graph: Graph, device: Mapping[str, Any]) -> Transcript:
    """Everything that a page gets of the core for a delegate and its calls."""
    try:
        delegate = core.delegate(graph.blob)
    except CoreError as error:
        yield "the delegate's error", str(error).encode()
        return
    yield "the delegate's form", delegate.json
    form = json.loads(delegate.json)

    def source(part: Mapping[str, Any]) -> bytes:
        return graph.bytes_of(form["constants_at"], part["key"], part["offset"], part["length"])

    read = {i: source(part) for i, part in enumerate(form["constants"]) if part["read"]}
    zeros = [
        i for i, part in enumerate(form["constants"]) if part["zeros"] and not any(source(part))
    ]
    settings = {"capabilities": device, "options": graph.options, "zero_constants": zeros}
    try:
        model = delegate.load(settings, read)
    except CoreError as error:
        yield "the load's error", str(error).encode()
        return
    yield "the model", model.json()
    yield "the plan for the largest inputs", model.bound_plan()
    plans: list[int] = []
    for inputs, wide in graph.calls:
        yield from prepare(model, inputs, wide, plans)
    yield "the model after its calls", model.json()
    for dialect in range(2):
        for i, text in enumerate(model.kernels(dialect)):
            yield f"kernel {i} in dialect {dialect}", text
    for kind in ("constants", "states"):
        for index, constant in enumerate(json.loads(model.json())[kind]):
            sources = [
                [source(of) for of in part.get("made_of", [part])] for part in constant["parts"]
            ]
            yield from pack(model, kind == "states", index, sources)
    model.close()


def check_graph(builds: tuple[Core, Core], graph: Graph, device: str) -> int:
    return check_same(builds, lambda core: compile_graph(core, graph, DEVICES[device]))


def prepare(
    model: CoreModel, inputs: Sequence[LiveInput], wide: bool, plans: list[int]
) -> Transcript:
    try:
        number = model.prepare(inputs, wide)
    except CoreError as error:
        yield "a call's error", str(error).encode()
        return
    yield "whether a plan is new", str(number in plans).encode()
    if number not in plans:
        plans.append(number)
        yield "a plan", model.plan()
        yield "a plan's uniforms", model.uniforms()
    values, dirty = model.take_scalars(json.loads(model.json())["scalars"])
    yield "live scalars", values
    yield "which scalars have changed", dirty


def pack(
    model: CoreModel, state: bool, index: int, sources: Sequence[Sequence[bytes]]
) -> Transcript:
    """Some windows of a constant: its first ones and its last."""
    most = 4096
    windows = model.windows(state, index, most)
    yield "windows", repr(windows).encode()
    for number in sorted({*range(len(windows))[:2], *range(len(windows))[-1:]}):
        window = windows[number]
        pairs = zip(sources[window.part], window.ranges, strict=True)
        given = b"".join(source[begin : begin + size] for source, (begin, size) in pairs)
        yield (
            f"window {number} of constant {index}",
            model.pack(state, index, most, number, given, window.size),
        )


# --- Graphs ----------------------------------------------------------------------------------


def live(given: Array | int) -> LiveInput:
    if isinstance(given, int):
        return LiveInput(scalar=given)
    if given.dtype.kind == "f" or given.size > 4096:
        return LiveInput(given.shape)
    lowest, highest = -(1 << 31), (1 << 31) - 1
    elements = np.clip(given.reshape(-1).astype(np.int64), lowest, highest).tolist()
    return LiveInput(given.shape, elements[0] if elements else 0, elements)


def recorded(case: Case) -> Graph:
    calls = [
        ([live(i) for i in call.inputs], any(np.asarray(i).dtype == np.int64 for i in call.inputs))
        for call in case.calls
    ]
    options = {k: v for k, v in case.options.items() if k in ("kv_cache_dtype", "matmul_dtype")}
    return Graph(case.blob, case.data, calls, options)


@on_every_device
def test_operators(builds: tuple[Core, Core], device: str) -> None:
    compared = 0
    for path, written in read_indices(CASES):
        binary = path.read_bytes()
        for case in written[::EVERY]:
            graph = recorded(read_case(case, binary))
            compared += check_graph(builds, graph, device)
    assert compared, f"{CASES} has no cases: pytest tests/python/ops --record {CASES}"


@on_every_device
@pytest.mark.parametrize("seed", range(3))
def test_decoders(builds: tuple[Core, Core], device: str, seed: int) -> None:
    sizes = random_sizes(random.Random(seed), seed)
    delegate = DecoderGraph(sizes).build().delegate()

    def call(tokens: int, position: int) -> tuple[list[LiveInput], bool]:
        return [LiveInput((1, tokens)), LiveInput((1,), 0, (position,))], True

    steps = [call(5, 0), call(1, 5), call(1, 6), call(5, 0), call(1, sizes.context)]
    graph = Graph(
        delegate.blob, delegate.named, steps, {"kv_cache_dtype": ("f32", "f16")[seed % 2]}
    )
    assert check_graph(builds, graph, device) > 100_000


# --- Files -----------------------------------------------------------------------------------


def read_file(core: Core, kind: int, name: str) -> Transcript:
    file = (SAMPLES / name).read_bytes()
    size = core.head_size(kind, file[:48], len(file))
    yield "the head's size", str(size).encode()
    # Also as large as a page may meet them.
    for whole in (len(file), len(file) + (5 << 30)):
        yield "what is in it", (core.program, core.data_file)[kind](file[:size], whole)


def test_data_file(builds: tuple[Core, Core]) -> None:
    check_same(builds, lambda core: read_file(core, 1, "weights.ptd"))


def test_steps(builds: tuple[Core, Core]) -> None:
    check_same(builds, lambda core: read_file(core, 0, "stepped.pte"))


@on_every_device
@pytest.mark.parametrize("name", ["add.pte", "decoder.pte", "unknown.pte"])
def test_program(builds: tuple[Core, Core], name: str, device: str) -> None:
    check_same(builds, lambda core: read_file(core, 0, name))
    file = (SAMPLES / name).read_bytes()
    form = json.loads(builds[0].program(file, len(file)))
    forward = form["methods"][0]
    (delegate,) = forward["delegates"]

    def part(of: Mapping[str, int]) -> bytes:
        return file[of["offset"] :][: of["size"]]

    inputs = [
        LiveInput(i["sizes"], 0, [0] * math.prod(i["sizes"] if i["dtype"] == "int64" else [0]))
        for i in forward["inputs"]
    ]
    data = {of["key"]: part(of) for of in form["named_data"]}
    graph = Graph(part(delegate), data, [(inputs, True)], {})
    assert check_graph(builds, graph, device)


def test_shared_states(builds: tuple[Core, Core]) -> None:
    blob = (SAMPLES / "decoder.vk").read_bytes()

    def transcript(core: Core) -> Transcript:
        delegates = [core.delegate(blob) for _ in range(2)]
        for methods in (["prefill", "decode"], ["forward", "forward"]):
            shared = core.shared_states(delegates, methods)
            yield "which states are one", shared
        for delegate in delegates:
            delegate.discard()

    assert check_same(builds, transcript) > 20


def test_match(builds: tuple[Core, Core]) -> None:
    blob = (SAMPLES / "decoder.vk").read_bytes()
    values = [
        {"id": 7, "dtype": "int64", "sizes": [1, 5]},
        {"id": 8, "dtype": "int64", "sizes": [1]},
        {"id": 9, "dtype": "float32", "sizes": [1, 64]},
    ]

    def transcript(core: Core) -> Transcript:
        model = core.delegate(blob).load({"capabilities": DEVICES["least"]}, {})
        for passed in (values, values[1:]):
            try:
                yield "a match", model.match({"aliased": False, "values": passed})
            except CoreError as error:
                yield "a match's error", str(error).encode()
        model.close()

    check_same(builds, transcript)


@pytest.mark.parametrize("sampled", [False, True])
def test_token_choice(builds: tuple[Core, Core], sampled: bool) -> None:
    def transcript(core: Core) -> Transcript:
        for dialect in range(2):
            yield f"the kernel in dialect {dialect}", core.token_kernel(sampled, 3, 1000, dialect)

    check_same(builds, transcript)
