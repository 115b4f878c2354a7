"""Linear layers whose weights are 8-bit integers, which the program itself converts.

So mode `int8` of ``export_llm`` has them: ``linear(x, weight.to(x)) * scales``. The partitioner
leaves the conversion outside, so that every call makes floats of the weights again. A weight that
is *dequantized* stays in the delegate, as the 8-bit constant that it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed.*
from torch import Tensor, fx
from torch.export import ExportedProgram

from .folded import Folded
from .graph import append_constant, call, operator_name

_LINEAR = torch.ops.aten.linear.default
_DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_channel.default


def keep_eight_bits(program: ExportedProgram, folded: Folded) -> None:
    """Dequantize such weights, by the scales behind the layer where they belong to it alone."""
    for node in list(program.graph.nodes):
        if node.target is _LINEAR and _is_converted(node.args[1], folded):
            _keep(program, node, folded)


def _is_converted(node: Any, folded: Folded) -> bool:
    if operator_name(node) not in ("to", "_to_copy") or node.args[0].op != "placeholder":
        return False
    weight = folded.of(node.args[0])
    is_weight = weight is not None and weight.dtype == torch.int8 and weight.dim() == 2
    return is_weight and node.meta["val"].dtype == torch.float32


def _keep(program: ExportedProgram, layer: fx.Node, folded: Folded) -> None:
    converted: Any = layer.args[1]
    outputs = converted.meta["val"].shape[0]
    scaled = _scaled(layer, folded)
    if scaled is not None:
        product, scales = scaled
        product.replace_all_uses_with(layer)
        program.graph.erase_node(product)
    else:
        scales = append_constant(program, f"eight_bits_ones_{outputs}", torch.ones(outputs))
    zeros = append_constant(
        program, f"eight_bits_zeros_{outputs}", torch.zeros(outputs, dtype=torch.int64)
    )
    with program.graph.inserting_before(layer):
        weight = call(
            program.graph, _DEQUANTIZE, converted.args[0], scales, zeros, 0, -128, 127, torch.int8
        )
    layer.args = (layer.args[0], weight, *layer.args[2:])
    if not converted.users:
        program.graph.erase_node(converted)


def _scaled(layer: fx.Node, folded: Folded) -> tuple[fx.Node, fx.Node] | None:
    """What multiplies a layer's outputs, if nothing else reads them, and the scale of each."""
    users = list(layer.users)
    if len(users) != 1 or users[0].target is not torch.ops.aten.mul.Tensor or _bias(layer):
        return None
    (product,) = users
    outputs = layer.meta["val"].shape[-1]
    for scales in product.all_input_nodes:
        value = folded.of(scales) if scales.op == "placeholder" else None
        if isinstance(value, Tensor) and value.dtype == torch.float32 and value.shape == (outputs,):
            return product, scales
    return None


def _bias(layer: fx.Node) -> Any:
    return layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
