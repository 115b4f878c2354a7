"""The cases of the wheel's Vulkan backend, against eager PyTorch.

A case is the arguments of an operator, tensors as their sizes. What the suite prepacks is a
constant.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.vulkan.test.op_tests.cases import test_suites as vulkan_suites
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import executorch_call_delegate
from executorch.runtime import Runtime

DTYPES = {
    "at::kFloat": torch.float32,
    "at::kHalf": torch.float16,
    "at::kInt": torch.int32,
    "at::kChar": torch.int8,
    "at::kBool": torch.bool,
}
WORDS = {"false": False, "true": True}
# Both round to 11 bits, and eager in other places.
HALF_TOLERANCE = 2e-2


def overload(name: str) -> Any:
    """Of "aten.add.Tensor"."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def suites_of(name: str) -> list[Any]:
    """One or several."""
    found = vulkan_suites[name]
    return found if isinstance(found, list) else [found]


CASES = [
    pytest.param(name, suite, case, dtype, id=f"{name}-{dtype[5:]}-{number}.{place}")
    for name in vulkan_suites
    for number, suite in enumerate(suites_of(name))
    for place, case in enumerate(suite.input_cases)
    for dtype in suite.dtypes
]


def tensor(suite: Any, argument: str, sizes: Any, dtype: str) -> torch.Tensor:
    """As the suite wants an argument filled."""
    kind = DTYPES[suite.arg_dtype.get(argument, dtype)]
    low, high = suite.arg_data_range.get(argument, suite.data_range)
    fill = suite.arg_data_gen_fn.get(argument, suite.data_gen)
    if kind == torch.bool:
        return torch.randint(0, 2, sizes).bool()
    if fill == "make_seq_tensor":
        return torch.arange(float(torch.Size(sizes).numel())).reshape(sizes).to(kind)
    if "randint" in fill or not kind.is_floating_point:
        return torch.randint(int(low), max(int(high), int(low) + 1), sizes).to(kind)
    return (torch.rand(sizes) * (high - low) + low).to(kind)


def value(suite: Any, argument: Any, given: Any, dtype: str) -> Any:
    """An argument of the operator."""
    if isinstance(given, str):
        return WORDS.get(given, given)
    kind = str(argument.type)
    if given is None or "Tensor" not in kind:
        return given
    if "List" in kind:
        return [
            sizes if sizes is None else tensor(suite, argument.name, sizes, dtype)
            for sizes in given
        ]
    return tensor(suite, argument.name, given, dtype)


class Call(torch.nn.Module):
    """An operator with what is no input bound."""

    def __init__(self, operator: Any, arguments: list[Any], names: list[str], constants: Any):
        super().__init__()
        self.operator, self.names = operator, names
        self.arguments = [
            None if isinstance(a, torch.Tensor) and n not in constants else a
            for n, a in zip(names, arguments, strict=True)
        ]
        self.inputs = [
            i
            for i, (n, a) in enumerate(zip(names, arguments, strict=True))
            if isinstance(a, torch.Tensor) and n not in constants
        ]

    def forward(self, *tensors: torch.Tensor) -> Any:
        arguments = list(self.arguments)
        for place, found in zip(self.inputs, tensors, strict=True):
            arguments[place] = found
        positional = [
            a
            for a, s in zip(arguments, self.operator._schema.arguments, strict=False)
            if not s.kwarg_only
        ]
        named = {
            s.name: a
            for a, s in zip(arguments, self.operator._schema.arguments, strict=False)
            if s.kwarg_only
        }
        return self.operator(*positional, **named)


@pytest.mark.parametrize(("name", "suite", "case", "dtype"), CASES)
def test_case(name: str, suite: Any, case: Any, dtype: str, note: Callable[[bool], None]) -> None:
    torch.manual_seed(0)
    operator = overload(name)
    schema = operator._schema.arguments
    given = case if isinstance(case, tuple) else (case,)
    arguments = [value(suite, a, g, dtype) for a, g in zip(schema, given, strict=False)]
    names = [a.name for a in schema[: len(arguments)]]
    module = Call(operator, arguments, names, suite.prepacked_args)
    inputs = tuple(arguments[i] for i in module.inputs)
    want = module(*inputs)
    edge = to_edge_transform_and_lower(
        torch.export.export(module, inputs),
        partitioner=[VulkanPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    nodes = edge.exported_program().graph.nodes
    delegated = any(node.target is executorch_call_delegate for node in nodes)
    note(delegated)
    if not delegated:  # the host may have no kernel for it, which says nothing of this runtime
        return
    file = edge.to_executorch().buffer  # to outlive what reads it: the runtime takes no copy
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    assert method is not None
    got = method.execute(inputs)
    rough = HALF_TOLERANCE if dtype == "at::kHalf" else 0.0
    tolerances = {
        "rtol": max(float(ast.literal_eval(suite.rtol)), rough),
        "atol": max(float(ast.literal_eval(suite.atol)), rough),
    }
    for mine, theirs in zip(got, want if isinstance(want, (list, tuple)) else [want], strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True, **tolerances)
