"""4-bit layers whose outputs do not come by fours, with which the stock partitioner fails.

It pads their scales and not their weights. Here all of a layer's tensors get rows of zeros, whose
outputs are cut off again. Linear layers are products with a transposed weight by now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from .graph import append_constant, aten, inputs, operator_name, tensor_of

_ROWS = 8  # the exporter pads some tensors to fours, others to eights
_PARTS = (0, 2, 3)  # of dequantize_affine: elements, scales, zero points

_Tensors = Mapping[Any, Tensor | None]  # of placeholders


def pad_four_bit_layers(program: ExportedProgram) -> None:
    """Give layers of 4-bit weights whole eights of outputs."""
    tensors = {node: tensor_of(program, spec) for node, spec in inputs(program)}
    for weight in list(program.graph.nodes):
        if not _has_four_bits(weight, tensors) or weight.meta["val"].shape[0] % _ROWS == 0:
            continue
        for transposed in [user for user in weight.users if operator_name(user) == "permute_copy"]:
            for layer in list(transposed.users):
                if _is_layer(layer, transposed, tensors):
                    _pad(program, layer, transposed, tensors)


def _has_four_bits(weight: fx.Node, tensors: _Tensors) -> bool:
    """Whether it is dequantized from constants, with scales for groups."""
    if operator_name(weight) != "dequantize_affine" or tuple(weight.args[5:7]) != (-8, 7):
        return False
    parts = [tensors.get(weight.args[i]) for i in _PARTS]
    return all(part is not None and part.dim() == 2 for part in parts)


def _is_layer(node: fx.Node, transposed: fx.Node, tensors: _Tensors) -> bool:
    if operator_name(node) == "mm":
        return node.args[1] is transposed
    if operator_name(node) != "addmm" or len(node.args) != 3 or node.args[2] is not transposed:
        return False
    bias = tensors.get(node.args[0])
    return bias is not None and bias.shape == node.meta["val"].shape[1:]


def _pad(program: ExportedProgram, layer: fx.Node, transposed: fx.Node, tensors: _Tensors) -> None:
    (weight,) = transposed.all_input_nodes
    outputs = weight.meta["val"].shape[0]
    more = -outputs % _ROWS

    def padded(node: Any) -> fx.Node:
        tensor = tensors[node]
        assert tensor is not None
        zeros = tensor.new_zeros(more, *tensor.shape[1:])
        whole = torch.cat([tensor, zeros]).detach()
        return append_constant(program, f"{node.name}_padded", whole, is_weight=True)

    def longer(node: fx.Node, args: tuple[Any, ...], dim: int) -> fx.Node:
        made: fx.Node = program.graph.call_function(node.target, args, node.kwargs)
        sizes = list(node.meta["val"].shape)
        sizes[dim] += more
        made.meta = {**node.meta, "val": node.meta["val"].new_empty(sizes)}
        return made

    parts = [padded(arg) if i in _PARTS else arg for i, arg in enumerate(weight.args)]
    bias = [padded(layer.args[0])] if operator_name(layer) == "addmm" else []
    view = _view_of_rows(layer, outputs)
    result = view or layer
    with program.graph.inserting_before(result):
        columns = longer(transposed, (longer(weight, tuple(parts), 0), transposed.args[1]), 1)
        whole = longer(layer, (*bias, layer.args[-2], columns), 1)
        if view is not None:
            sizes: Any = view.args[1]
            whole = longer(view, (whole, [*sizes[:-1], outputs + more]), -1)
        cut = program.graph.call_function(aten.slice_copy.Tensor, (whole, -1, 0, outputs))
        cut.meta = dict(result.meta)
    result.replace_all_uses_with(cut)
    for node in (result, layer, transposed, weight):
        if not node.users:
            program.graph.erase_node(node)


def _view_of_rows(layer: fx.Node, outputs: int) -> fx.Node | None:
    """The view that gives a layer's rows more dimensions: the exporter takes both as one."""
    users = list(layer.users)
    if len(users) != 1 or operator_name(users[0]) != "view_copy":
        return None
    return users[0] if users[0].meta["val"].shape[-1] == outputs else None
