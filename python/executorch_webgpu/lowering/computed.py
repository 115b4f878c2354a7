"""What a program computes from nothing but numbers, as masks over an image's windows.

Some of it the partitioner leaves to ExecuTorch's kernels, for each call anew: it becomes constants.
"""

from __future__ import annotations

from typing import Any

import torch
from executorch.backends.vulkan.op_registry import has_impl
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.node import map_arg

from .graph import append_constant, inputs, is_tensor, operator_name, tensor_of

# Elements of a constant: a file would grow by more than what a call costs.
_MOST = 1 << 20
_LIFTED = "_lifted_tensor_constant"  # what the exporter names constants in code
_RANDOM = torch.Tag.nondeterministic_seeded


def make_constants(program: ExportedProgram) -> None:
    """Compute them where an operator would be left outside of delegates."""
    values = _numbers(program)
    known = dict.fromkeys(values, False)  # and whether there is such an operator behind it
    for node in program.graph.nodes:
        if _is_computable(node, known):
            outside = not has_impl(node.target)
            known[node] = outside or any(known[operand] for operand in node.all_input_nodes)
    for node in list(known):
        if known[node] and not known.keys() >= node.users.keys():
            name = f"computed_{node.name}"
            constant = append_constant(program, name, _value(node, values).contiguous().clone())
            node.replace_all_uses_with(constant, lambda user: user not in known)
    for node in reversed(known):
        if node.op == "call_function" and not node.users:
            program.graph.erase_node(node)


def _numbers(program: ExportedProgram) -> dict[fx.Node, Any]:
    """Those that tracing made tensors of. Other buffers may be states, of another method say."""
    out: dict[fx.Node, Any] = {}
    for node, spec in inputs(program):
        tensor = tensor_of(program, spec)
        is_lifted = spec.kind == InputKind.CONSTANT_TENSOR or str(spec.target).startswith(_LIFTED)
        if tensor is not None and is_lifted and tensor.numel() == 1:
            out[node] = tensor
    return out


def _is_computable(node: fx.Node, known: dict[fx.Node, bool]) -> bool:
    overload = node.target._op if isinstance(node.target, EdgeOpOverload) else node.target
    if not isinstance(overload, OpOverload) or not is_tensor(node):
        return False
    if _RANDOM in overload.tags or operator_name(node).startswith("empty"):
        return False
    numel = node.meta["val"].numel()
    is_small = isinstance(numel, int) and numel <= _MOST
    return is_small and known.keys() >= set(node.all_input_nodes)


def _value(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    if node not in values:
        args, kwargs = map_arg((node.args, node.kwargs), lambda operand: _value(operand, values))
        assert callable(node.target)
        values[node] = node.target(*args, **kwargs)
    return values[node]
