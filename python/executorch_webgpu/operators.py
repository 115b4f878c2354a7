"""Operators of a user's own, computed by a kernel that comes with them (docs/kernels.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .errors import WebGPUError
from .native import library

if TYPE_CHECKING:
    import torch

# Letters of the library's signatures by the types of PyTorch's schemas.
_KINDS = {"Tensor": "t", "float": "f", "int": "i", "bool": "i"}

_OUTPUT = "out"


def register_operator(operator: torch._ops.OpOverload, kernel: str, *, sizes_like: str) -> None:
    """Have `operator` computed by `kernel` in programs that this process loads from now on.

    Args:
        operator: of tensors and numbers to one tensor, such as torch.ops.mylib.softcap.default.
        kernel: a template, called for each element of the output. Its bindings are the schema's
            tensors and "out".
        sizes_like: the tensor argument that has the output's sizes.

    Raises:
        WebGPUError: the kernel or the operator is not one that can be called, or has been
            registered before.
    """
    schema = operator._schema
    given = [(argument.name, str(argument.type)) for argument in schema.arguments]
    returned = [str(result.type) for result in schema.returns]
    for what, kind in given:
        if kind not in _KINDS:
            raise WebGPUError(
                f"operator '{operator}': '{what}' is {kind}, not a tensor or a number"
            )
    if returned != ["Tensor"]:
        raise WebGPUError(f"operator '{operator}' does not return one tensor")
    definition = {
        "name": str(operator),
        "signature": " ".join([*(_KINDS[kind] for _, kind in given), "> t"]),
        "arguments": [*(name for name, _ in given), _OUTPUT],
        "sizes_like": sizes_like,
        "kernel": kernel,
    }
    library().register_operator(json.dumps(definition))
