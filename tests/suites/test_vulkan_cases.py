"""The cases of the wheel's Vulkan backend, against eager PyTorch.

A case is the arguments of an operator, read as the wheel's generator of C++ tests reads them: a
tensor is its sizes, but indices are their values; weights are constants, and what the suite can
prepack is an input in one test and a constant in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.backends.vulkan.test.op_tests.cases import test_suites as vulkan_suites
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import executorch_call_delegate
from executorch.runtime import Runtime
from torch.utils._pytree import tree_leaves

DTYPES = {
    "at::kFloat": torch.float32,
    "at::kHalf": torch.float16,
    "at::kInt": torch.int32,
    "at::kChar": torch.int8,
    "at::kBool": torch.bool,
}
WORDS = {"false": False, "true": True}
VALUES = ("index", "indices")
WEIGHTS = ("weight", "bias", "running_mean", "running_var")
HALF_TOLERANCE = 1e-2


def uniform(sizes: torch.Size, dtype: torch.dtype, low: float, high: float) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.rand(sizes) > 0.5
    if dtype == torch.int8:
        return torch.randint(int(high), sizes, dtype=dtype)
    return torch.rand(sizes, dtype=dtype) * (high - low) + low


def sequence(sizes: torch.Size, dtype: torch.dtype, low: float, high: float) -> torch.Tensor:
    return torch.arange(1.0, sizes.numel() + 1).reshape(sizes).to(dtype)


def integers(sizes: torch.Size, dtype: torch.dtype, low: float, high: float) -> torch.Tensor:
    return torch.randint(1, 20, sizes, dtype=dtype)


FILLS = {
    "make_rand_tensor": uniform,
    "make_seq_tensor": sequence,
    "make_casted_randint_tensor": integers,
}


def overload(name: str) -> Any:
    """Of "aten.add.Tensor"."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def cases() -> Iterator[Any]:
    for name, found in vulkan_suites.items():
        for number, suite in enumerate(found if isinstance(found, list) else [found]):
            forms = [""] * (not suite.requires_prepack) + ["-prepacked"] * suite.supports_prepack()
            for place, case in enumerate(suite.input_cases):
                for dtype in suite.dtypes:
                    for form in forms:
                        label = f"{name}-{dtype[5:]}-{number}.{place}{form}"
                        yield pytest.param(name, suite, case, dtype, bool(form), id=label)


def tensor(suite: Any, argument: Any, given: Any, dtype: str) -> torch.Tensor:
    """As the suite wants an argument filled."""
    kind = DTYPES[suite.arg_dtype.get(argument.name, dtype)]
    low, high = suite.arg_data_range.get(argument.name, suite.data_range)
    fill = FILLS[suite.arg_data_gen_fn.get(argument.name, suite.data_gen)]
    return fill(torch.Size([given] if isinstance(given, int) else given), kind, low, high)


def value(suite: Any, argument: Any, given: Any, dtype: str) -> Any:
    """An argument of the operator."""
    if isinstance(given, str):
        return WORDS.get(given, given)
    kind = str(argument.type)
    if given is None or "Tensor" not in kind:
        return [given] if "List" in kind and isinstance(given, int) else given
    if "List" in kind:
        return [tensor(suite, argument, sizes, dtype) for sizes in given]
    if argument.name in VALUES:
        return torch.tensor(given, dtype=torch.int32)
    return tensor(suite, argument, given, dtype)


class Call(torch.nn.Module):
    """An operator of the tensors that are inputs; its other arguments are bound."""

    def __init__(self, operator: Any, arguments: dict[str, Any], constants: set[str]):
        super().__init__()
        self.operator = operator
        self.bound = {}
        self.inputs = {}
        for name, given in arguments.items():
            if not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(given)):
                self.bound[name] = given
            elif name in constants:
                self.register_buffer(name, given)
            else:
                self.inputs[name] = given

    def forward(self, inputs: dict[str, Any]) -> Any:
        return self.operator(**self.bound, **dict(self.named_buffers()), **inputs)


def lowered(call: Call) -> Any:
    return to_edge_transform_and_lower(
        torch.export.export(call, (call.inputs,)),
        partitioner=[VulkanPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


@pytest.mark.parametrize(("name", "suite", "case", "dtype", "prepack"), list(cases()))
def test_case(
    name: str, suite: Any, case: Any, dtype: str, prepack: bool, note: Callable[[bool], None]
) -> None:
    torch.manual_seed(42)
    operator = overload(name)
    schema = operator._schema.arguments
    given = case if isinstance(case, tuple) else (case,)  # a list is one argument, its sizes
    arguments = {a.name: value(suite, a, g, dtype) for a, g in zip(schema, given, strict=False)}
    constants = {a.name for a in schema if any(weight in a.name for weight in WEIGHTS)}
    call = Call(operator, arguments, constants | set(suite.prepacked_args * prepack))
    want = call(call.inputs)
    # The partitioner itself fails with splits into one piece (findings/splits_into_one_piece.sh).
    edge = None if isinstance(want, list) and len(want) == 1 else lowered(call)
    nodes = edge.exported_program().graph.nodes if edge else ()
    delegated = any(node.target is executorch_call_delegate for node in nodes)
    note(delegated)
    if not delegated:  # the host may have no kernel for it, which says nothing of this runtime
        return
    file = edge.to_executorch().buffer  # to outlive what reads it: the runtime takes no copy
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    assert method is not None
    got = method.execute(tree_leaves(call.inputs))
    half = dtype == "at::kHalf"
    for mine, theirs in zip(got, tree_leaves(want), strict=True):
        torch.testing.assert_close(
            mine,
            theirs,
            equal_nan=True,
            rtol=HALF_TOLERANCE if half else float(suite.rtol),
            atol=HALF_TOLERANCE if half else float(suite.atol),
        )
