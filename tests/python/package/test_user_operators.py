"""Operators that users define: the example, what kernels may ask for, and every mistake."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from executorch_webgpu import WebGPUError, register_operator
from executorch_webgpu.native import library
from support import stock
from support.capi import ModelError
from support.delegate import GraphBuilder

EXAMPLE = Path(__file__).parents[3] / "examples" / "user_operator.py"


def kernel(head: str, inputs: Mapping[str, str], out: str, body: str) -> str:
    """A template over elements i, with types of what it binds."""
    bindings = "".join(
        f"@group(0) @binding({name}) var<storage, read> {name}: array<{kind}>;\n"
        for name, kind in inputs.items()
    )
    return f"""#param WG
{head}#params
{bindings}@group(0) @binding(out) var<storage, read_write> out: array<{out}>;
@compute @workgroup_size(${{WG}})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {{
  let i = (wid.y * groups.x + wid.x) * ${{WG}}u + lane;
  if (i >= params.x_count) {{
    return;
  }}
  {body}
}}
"""


# out[.., j] = x[.., (j + by) % n], of floats or integers.
ROTATE = kernel(
    "#param x_type : f32 | i32\n#param out_type : f32 | i32\n",
    {"x": "${x_type}"},
    "${out_type}",
    "let n = params.x_sizes.w;\n let j = i % n;\n"
    "out[i] = ${out_type}(x[i - j + (j + u32(params.by)) % n]);",
)

# out = x + y, whose elements repeat.
ADD = kernel("", {"x": "f32", "y": "f32"}, "f32", "out[i] = x[i] + y[i % params.y_count];")


def definition(name: str, **changes: Any) -> dict[str, Any]:
    rotate = {
        "name": name,
        "signature": "t i > t",
        "arguments": ["x", "by", "out"],
        "sizes_like": "x",
        "kernel": ROTATE,
    }
    return rotate | changes


def register(made: Mapping[str, Any]) -> None:
    library().register_operator(json.dumps(made))


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("user_operator", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rotate() -> str:
    register(definition("usertest.rotate.default"))
    return "usertest.rotate.default"


def test_the_example_runs(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    assert capsys.readouterr().out.count("as eager PyTorch computes it") == 3


class Capped(torch.nn.Module):
    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mylib.softcap(x * 2, self.cap)
        return y + 1


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_an_operator_of_dynamic_sizes_in_the_stock_runtime(example: ModuleType, rank: int) -> None:
    model, bound = Capped(2.5), (37, 3, 5, 2)[:rank]
    dynamic = {"x": {0: torch.export.Dim("n", min=1, max=37)}}
    program = stock.program(model, torch.randn(bound), dynamic_shapes=dynamic)
    for rows in (37, 1, 12, 36):
        x = torch.randn(rows, *bound[1:]) * 8
        torch.testing.assert_close(program(x)[0], model(x), rtol=1e-5, atol=1e-5)


def test_more_elements_than_one_row_of_workgroups(example: ModuleType) -> None:
    model, x = Capped(1.0), torch.randn(65536 * 64 + 7)
    (got,) = stock.program(model, x)(x)
    torch.testing.assert_close(got, model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.int64, torch.float16])
def test_sizes_integers_and_types(rotate: str, dtype: torch.dtype) -> None:
    graph = GraphBuilder()
    x = graph.input(dtype, (4, 9))
    graph.output(graph.call(rotate, x, 2, out=(dtype, (4, 9))))
    with graph.load() as model:
        for sizes in ((4, 9), (1, 1), (3, 7), (0, 9)):
            given = torch.arange(sizes[0] * sizes[1]).reshape(sizes).to(dtype)
            (got,) = model.run(given)
            assert got.tolist() == given.roll(-2, 1).tolist()


def test_a_scalar_of_the_program(rotate: str) -> None:
    graph = GraphBuilder()
    by, x = graph.symint_input(), graph.input(torch.float32, (5,))
    graph.output(graph.call(rotate, x, by, out=(torch.float32, (5,))))
    with graph.load() as model:
        for shift in (0, 3, 1):
            (got,) = model.run(shift, torch.arange(5.0))
            assert got.tolist() == torch.arange(5.0).roll(-shift).tolist()


def test_several_tensors_and_a_constant() -> None:
    made = definition(
        "usertest.add.default", signature="t t > t", arguments=["x", "y", "out"], kernel=ADD
    )
    register(made)
    graph = GraphBuilder()
    x, y = graph.input(torch.float32, (6, 4)), graph.constant(torch.arange(4.0))
    graph.output(graph.call("usertest.add.default", x, y, out=(torch.float32, (6, 4))))
    with graph.load() as model:
        (got,) = model.run(torch.ones(6, 4))
        assert got.tolist() == (torch.ones(6, 4) + torch.arange(4.0)).tolist()


# Changes to a definition, and what is said about them.
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "'name' must be a text"),
    "a strange name": ({"name": "a b.c.d"}, "'a b.c.d' is no operator's name"),
    "a short name": ({"name": "rotate"}, "is not written as namespace.operator.overload"),
    "built in": ({"name": "aten.abs.default"}, "it is built in and cannot be replaced"),
    "no signature": ({"signature": None}, "'signature' must be a text"),
    "a letter": ({"signature": "t q > t"}, "letter 'q' is none that users' operators take"),
    "no output": ({"signature": "t i"}, "must end in '> t'"),
    "two outputs": ({"signature": "t i > t t"}, "must end in '> t'"),
    "no tensor": ({"signature": "f i > t"}, "has no tensor"),
    "few arguments": ({"arguments": ["x", "out"]}, "must be a list of 3 names"),
    "no names": ({"arguments": ["x", "2", "out"]}, "must be names of letters"),
    "one name twice": ({"arguments": ["x", "x", "out"]}, "two arguments are called 'x'"),
    "sizes of none": ({"sizes_like": "z"}, "'sizes_like' is 'z', which names no tensor"),
    "sizes of a number": ({"sizes_like": "by"}, "names no tensor that it takes"),
    "sizes of the output": ({"sizes_like": "out"}, "names no tensor that it takes"),
    "no kernel": ({"kernel": None}, "'kernel' must be a text"),
    "an open #if": ({"kernel": ROTATE + "#if WG\n"}, "#if without #endif"),
    "an unknown parameter": ({"kernel": ROTATE + "// ${NONE}\n"}, "mentions NONE"),
    "a parameter of its own": (
        {"kernel": "#param MORE\n" + ROTATE + "// ${MORE}\n"},
        "needs the parameter MORE",
    ),
    "an unknown binding": ({"kernel": ROTATE.replace("(x)", "(z)")}, "mentions the binding z"),
    "no binding": ({"kernel": ROTATE.replace("(x)", "(out)", 1)}, "is given the binding x"),
    "an unknown param": (
        {"kernel": ROTATE.replace("params.by", "params.bye")},
        "the kernel mentions params.bye, which is none of its number arguments",
    ),
    "no struct of params": ({"kernel": ROTATE.replace("#params\n", "")}, "the binding params"),
    "no workgroup": (
        {"kernel": ROTATE.replace("#param WG\n", "").replace("${WG}", "64")},
        "has no parameter WG",
    ),
    "a missing fragment": ({"kernel": '#include "none.wgsl"\n' + ROTATE}, "'none'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_said(mistake: str) -> None:
    changes, sentence = MISTAKES[mistake]
    with pytest.raises(WebGPUError) as error:
        register(definition("usertest.wrong.default") | changes)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_object() -> None:
    for text, sentence in (("{", "JSON"), ("[]", "no JSON object")):
        with pytest.raises(WebGPUError, match=sentence):
            library().register_operator(text)


def test_after_a_mistake_the_name_is_free() -> None:
    name = "usertest.second.default"
    with pytest.raises(WebGPUError):
        register(definition(name, kernel=ROTATE + "#if WG\n"))
    register(definition(name))
    with pytest.raises(WebGPUError, match="'usertest.second.default': it is registered already"):
        register(definition(name))


def test_what_only_the_compiler_knows_is_said_at_load() -> None:
    name = "usertest.uncompiled.default"
    register(definition(name, kernel=ROTATE.replace("let j = i % n;", "let j = nonsense;")))
    graph = GraphBuilder()
    graph.output(graph.call(name, graph.input(torch.float32, (4,)), 1, out=(torch.float32, (4,))))
    with pytest.raises(ModelError, match="nonsense"), graph.load() as model:
        model.run(torch.zeros(4))


@pytest.mark.parametrize(
    ("sizes", "dtype", "sentence"),
    [
        ((2, 2, 2, 2, 2), torch.float32, "params.x_sizes has room for 4 sizes"),
        ((4,), torch.float32, "past its recorded bound"),
    ],
)
def test_what_calls_must_fit(
    rotate: str, sizes: tuple[int, ...], dtype: torch.dtype, sentence: str
) -> None:
    graph = GraphBuilder()
    bound = sizes if len(sizes) > 1 else (3,)
    graph.output(graph.call(rotate, graph.input(dtype, sizes), 1, out=(dtype, bound)))
    with pytest.raises(ModelError, match=sentence):
        graph.load()


def test_integers_need_a_kernel_that_takes_them(example: ModuleType) -> None:
    graph = GraphBuilder()
    x = graph.input(torch.int32, (4,))
    graph.output(graph.call("mylib.softcap.default", x, 2.0, out=(torch.int32, (4,))))
    with pytest.raises(ModelError, match="'x' is int32, but the kernel takes it as f32"):
        graph.load()


def test_schemas_that_do_not_fit() -> None:
    with pytest.raises(WebGPUError, match=r"'dim' is .*List.*, not a tensor or a number"):
        register_operator(torch.ops.aten.sum.dim_IntList, ROTATE, sizes_like="self")
    with pytest.raises(WebGPUError, match="does not return one tensor"):
        register_operator(torch.ops.aten.frexp.Tensor, ROTATE, sizes_like="self")


def test_threads_register_while_others_load(rotate: str) -> None:
    graph = GraphBuilder()
    x = graph.input(torch.float32, (4,))
    graph.output(graph.call(rotate, x, 1, out=(torch.float32, (4,))))
    delegate = graph.delegate()

    def work(number: int) -> int:
        register(definition(f"usertest.thread.n{number}"))
        with delegate.load() as model:
            assert model.run(torch.arange(4.0))[0].tolist() == [1, 2, 3, 0]
        try:
            register(definition("usertest.thread.shared"))
        except WebGPUError as error:
            assert "registered already" in str(error)
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(32))) == 1
