"""From a decoder with quantized weights to an ExecuTorch program.

Only what must be so for the partitioner to recognize its patterns is done here: quantized layers
spelled as the operators it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torchao.quantization.quant_primitives  # noqa: F401  registers torchao::dequantize_affine
from executorch.exir import ExecutorchProgramManager
from torch import Tensor, nn

from ..lowering import partition, plan_memory, quick_upstream, quiet_upstream, spending
from .quantize import QuantizedWeight, halves

# What `quick_upstream` tells of while a decoder becomes a delegate.
_WALKS = 110


class _QuantizedMatrix(nn.Module):
    """A weight as the three tensors of `torchao::dequantize_affine`."""

    values: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        self.block = (1, weight.group_size)
        self.range = (-(1 << weight.bits - 1), (1 << weight.bits - 1) - 1)
        self.register_buffer("values", weight.values)
        self.register_buffer("scales", weight.scales)
        self.register_buffer("zeros", torch.zeros(weight.scales.shape, dtype=torch.int8))

    def dequantize(self) -> Tensor:
        matrix: Tensor = torch.ops.torchao.dequantize_affine(
            self.values, self.block, self.scales, self.zeros, torch.int8, *self.range
        )
        return matrix


class _QuantizedLinear(_QuantizedMatrix):
    bias: Tensor | None

    def __init__(self, weight: QuantizedWeight, bias: Tensor | None) -> None:
        super().__init__(weight)
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.dequantize(), self.bias)


class _QuantizedEmbedding(_QuantizedMatrix):
    def forward(self, indices: Tensor) -> Tensor:
        return nn.functional.embedding(indices, self.dequantize())


class _EmbeddingOfHalves(nn.Module):
    """An embedding of 8 bits, as the sum of two of the 4 bits that delegates look up."""

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        self.sixteens, self.ones = map(_QuantizedEmbedding, halves(weight))

    def forward(self, indices: Tensor) -> Tensor:
        whole: Tensor = self.sixteens(indices) + self.ones(indices)
        return whole


def use_quantized_modules(model: nn.Module, weights: Mapping[str, QuantizedWeight]) -> None:
    """Replace the linear layers and embeddings named in `weights`, in place."""
    used: set[int] = set()
    for name, given in weights.items():
        weight = given
        if id(given) in used:
            # The partitioner packs each user's tensors in place: a weight used twice would be
            # packed twice. Equal bytes are stored once in the program all the same.
            weight = QuantizedWeight(given.values.clone(), given.scales.clone(), given.bits)
        used.add(id(given))
        old = model.get_submodule(name)
        if isinstance(old, nn.Embedding):
            form = _QuantizedEmbedding if weight.bits == 4 else _EmbeddingOfHalves
            model.set_submodule(name, form(weight))
        else:
            bias: Any = old.bias
            model.set_submodule(name, _QuantizedLinear(weight, bias))


def lower(
    model: nn.Module,
    context: int,
    constants: Mapping[str, Any],
    report: Callable[[str, int, int], None],
    longest_input: int | None = None,
) -> ExecutorchProgramManager:
    """The program of ``forward(tokens [1, S] int64, position [1] int64)``, S below `context`.

    The model's quantized weights are given back as they are written down.

    Args:
        constants: values of the program's constant methods, by name.
        report: called with the stage's name, and what is done of how much.
        longest_input: the largest S; one less than `context` when None.
    """
    done = 0

    def walked(share: int) -> None:
        nonlocal done
        done += share
        report("Lowering to the delegate", min(done, _WALKS), _WALKS)

    with quiet_upstream(), torch.no_grad():
        report("Capturing the graph", 0, 0)
        with quick_upstream():
            graph = _capture(model, longest_input or context - 1)
        report("Lowering to the delegate", 0, _WALKS)
        with quick_upstream(walked), spending(_quantized(model)):
            edge = partition(graph, {"require_dynamic_shapes": True}, constants)
        report("Planning memory", 0, 0)
        return plan_memory(edge)


def _quantized(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if isinstance(module, _QuantizedMatrix):
            yield from (module.values, module.scales)


def _capture(model: nn.Module, longest_input: int) -> torch.export.ExportedProgram:
    inputs = (torch.tensor([[2, 3, 4]]), torch.tensor([0]))
    length = torch.export.Dim("token_dim", max=longest_input)
    return torch.export.export(model, inputs, dynamic_shapes=({1: length}, None), strict=False)
