"""From a Llama-shaped torch model with quantized weights to an ExecuTorch program.

Only what must be so for the partitioner to recognize its patterns is done here: quantized layers
spelled as the operators it looks for, upstream's attention and cache operators, and no transposes
between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchao.quantization.quant_primitives  # noqa: F401  registers torchao::dequantize_affine
from executorch.exir import ExecutorchProgramManager
from executorch.extension.llm.export.export_passes import RemoveRedundantTransposes
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from ..quantize import HIGHEST, LOWEST, QuantizedWeight
from .program import partition, plan_memory, quiet_upstream


class _QuantizedMatrix(nn.Module):
    """A weight as the three tensors of `torchao::dequantize_affine`."""

    values: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        self.block = (1, weight.group_size)
        self.register_buffer("values", weight.values)
        self.register_buffer("scales", weight.scales)
        self.register_buffer("zeros", torch.zeros(weight.scales.shape, dtype=torch.int8))

    def dequantize(self) -> Tensor:
        matrix: Tensor = torch.ops.torchao.dequantize_affine(
            self.values, self.block, self.scales, self.zeros, torch.int8, LOWEST, HIGHEST
        )
        return matrix


class _QuantizedLinear(_QuantizedMatrix):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dequantize())


class _QuantizedEmbedding(_QuantizedMatrix):
    def forward(self, indices: Tensor) -> Tensor:
        return nn.functional.embedding(indices, self.dequantize())


def use_quantized_modules(model: nn.Module, weights: Mapping[str, QuantizedWeight]) -> None:
    """Replace the linear layers named in `weights` in place, and the embedding by "output"'s."""
    for name, weight in weights.items():
        model.set_submodule(name, _QuantizedLinear(weight))
    # A copy, for the partitioner packs each user's tensors in place: a weight used twice would be
    # packed twice. Equal bytes are stored once in the program all the same.
    output = weights["output"]
    copy = QuantizedWeight(output.values.clone(), output.scales.clone())
    model.set_submodule("tok_embeddings", _QuantizedEmbedding(copy))


def lower(
    model: nn.Module,
    context: int,
    constants: Mapping[str, Any],
    report: Callable[[str, int, int], None],
    longest_input: int | None = None,
) -> ExecutorchProgramManager:
    """The program of ``forward(tokens [1, S] int64, position [1] int64)``, S below `context`.

    Args:
        constants: values of the program's constant methods, by name.
        report: called with the stage's name, and what is done of how much.
        longest_input: the largest S; one less than `context` when None.
    """
    with quiet_upstream(), torch.no_grad():
        report("Capturing the graph", 0, 0)
        graph = _capture(_with_upstream_operators(model), longest_input or context - 1)
        report("Lowering to the delegate", 0, 0)
        edge = partition(graph, {"require_dynamic_shapes": True}, constants)
        report("Planning memory", 0, 0)
        return plan_memory(edge)


def _capture(model: nn.Module, longest_input: int) -> torch.export.ExportedProgram:
    inputs = (torch.tensor([[2, 3, 4]]), {"input_pos": torch.tensor([0])})
    length = torch.export.Dim("token_dim", max=longest_input)
    graph = torch.export.export(
        model, inputs, dynamic_shapes=({1: length}, {"input_pos": {0: 1}}), strict=False
    )
    # Upstream's cache hands out transposed views that its attention transposes back. The
    # partitioner knows the cache and the attention as one operator only without them.
    RemoveRedundantTransposes()(graph.graph_module)
    _drop_unused_buffers(graph)
    return graph


def _drop_unused_buffers(graph: torch.export.ExportedProgram) -> None:
    """Drop buffers nothing reads, such as causal masks: they would be stored in the program."""
    signature = graph.graph_signature
    placeholders = {
        node.name: node for node in graph.graph.nodes if node.op == "placeholder" and not node.users
    }
    for spec in list(signature.input_specs):
        if spec.kind is InputKind.BUFFER and spec.arg.name in placeholders:
            graph.graph.erase_node(placeholders[spec.arg.name])
            signature.input_specs.remove(spec)
    graph.graph_module.recompile()


def _with_upstream_operators(model: nn.Module) -> nn.Module:
    from executorch.examples.models.llama.source_transformation.custom_kv_cache import (
        replace_kv_cache_with_custom_kv_cache,
    )
    from executorch.examples.models.llama.source_transformation.sdpa import (
        replace_sdpa_with_custom_op,
    )

    replaced: nn.Module = replace_kv_cache_with_custom_kv_cache(replace_sdpa_with_custom_op(model))
    return replaced
