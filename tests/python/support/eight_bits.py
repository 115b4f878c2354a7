"""Networks that PT2E quantized statically, and what the exporter makes of them, in eager."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from executorch.backends.vulkan import vulkan_preprocess
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import Tensor, nn
from torch.export import ExportedProgram
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from .bytes import convolution, linear

CALIBRATIONS = 2


def quantized(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Eager's network in 8 bits, calibrated with some inputs of the same kind; with the quantizer
    that the exporter's own tests use."""
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    exported = torch.export.export(module, inputs).module()
    prepared = prepare_pt2e(exported, XNNPACKQuantizer().set_global(config))
    for _ in range(CALIBRATIONS):
        prepared(*map(torch.randn_like, inputs))
    return convert_pt2e(prepared)


# --- What delegates are asked for ---

# The exporter's passes leave out pairs of quantize and dequantize between what it has no 8-bit form
# of, so that a delegate is not eager's network.

# In place of the wheel's own: those add products of floats, and the general convolution's takes
# weights in another order than the exporter writes them.
EXACT = {
    "et_vk::q8ta_linear": linear,
    "et_vk::q8ta_linear_gemv": linear,
    "et_vk::q8ta_conv2d": convolution,
    "et_vk::q8ta_conv2d_pw": convolution,
    "et_vk::q8ta_conv2d_dw": convolution,
    "et_vk::q8ta_conv2d_transposed": convolution,
}


@contextmanager
def folded_programs() -> Iterator[list[ExportedProgram]]:
    """One for each delegate that is lowered meanwhile, as it is after those passes."""
    found: list[ExportedProgram] = []
    apply = vulkan_preprocess.apply_passes

    def apply_and_note(program: ExportedProgram, passes: list[Any]) -> ExportedProgram:
        program = apply(program, passes)
        if any(isinstance(p, vulkan_preprocess.FoldQDQPass) for p in passes):
            found.append(copy.deepcopy(program))
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vulkan_preprocess, "apply_passes", apply_and_note)
        yield found


class _Exactly(torch.fx.Interpreter):
    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = getattr(target, "_schema", None) and target._schema.name
        return super().call_function(EXACT.get(name, target), args, kwargs)


def computed(program: ExportedProgram, *inputs: torch.Tensor) -> Any:
    """A program's outputs, with exact sums of integers."""
    return _Exactly(program.module()).run(*inputs)
