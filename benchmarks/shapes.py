"""Skeletons of Llama-shaped decoders, exported by ExecuTorch's own partitioner without weights.

    python benchmarks/shapes.py 1b --context 8192 1b.zip
    python benchmarks/decoder.py 1b.zip

The weights are one made-up row each, seen as every row of the matrix, so that a model of any size
is exported in little memory. The graph is the one that real weights of these sizes would give.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from executorch.backends.vulkan import utils
from executorch.backends.vulkan.patterns import quantized_linear
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.passes import convert_constant_dim_order_pass as dim_order_pass
from executorch_webgpu.decoders.lower import lower, use_quantized_modules
from executorch_webgpu.decoders.quantize import HIGHEST, LOWEST, QuantizedWeight
from executorch_webgpu.decoders.transformer import empty_transformer
from sizes import SHAPES, Shape, Size
from skeleton import Skeleton
from torch import Tensor, nn

GROUP_SIZE = 32

# Most tokens of one call.
LONGEST_INPUT = 2048


def skeleton(shape: Shape, context: int) -> Skeleton:
    """The delegate of a decoder with a cache of `context` tokens, exported as SmolLM2 is."""
    model = empty_transformer(shape.config(), context)
    use_quantized_modules(model, _made_up_weights(model))
    _make_norms_differ(model)
    with _little_memory(), tempfile.TemporaryDirectory() as folder:
        program = lower(model, context, {}, _report, min(LONGEST_INPUT, context - 1))
        path = Path(folder, "model.pte")
        with path.open("wb") as file:
            program.write_to_file(file)
        return Skeleton.of_program(path)


def _made_up_weights(model: nn.Module) -> dict[str, QuantizedWeight]:
    """A weight for each linear layer: all different, for equal constants would be stored once.

    The output layer's is the embedding, too.
    """
    generator = torch.Generator().manual_seed(0)

    def weight(rows: int, columns: int) -> QuantizedWeight:
        values = torch.randint(LOWEST, HIGHEST + 1, (1, columns), generator=generator)
        scales = (torch.rand(1, columns // GROUP_SIZE, generator=generator) + 0.5).half()
        return QuantizedWeight(values.to(torch.int8).expand(rows, -1), scales.expand(rows, -1))

    weights = {
        name: weight(module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    return {**weights, "embedding": weights["output"]}


def _make_norms_differ(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim != 1:
            raise ValueError(f"{name} is no norm: its weight was to be replaced")
        parameter.data = torch.rand(parameter.shape, generator=generator)


@contextmanager
def _little_memory() -> Iterator[None]:
    """Rows seen many times stay one until they have their key; then their bytes are dropped.

    The pass that is left out gives constants contiguous copies, which serializing does anyway.
    """
    add = NamedDataStore.add_named_data
    pack = quantized_linear.pack_4bit_weight_tensor
    update = utils.align_width_and_update_state_dict

    def add_nothing(store: Any, key: str, data: object, *args: Any, **kwargs: Any) -> None:
        add(store, key, b"\0", *args, **kwargs)

    def pack_once(weight: Tensor) -> Tensor:
        packed: Tensor = pack(weight[:1])
        return packed.expand(len(weight), -1)

    def update_looking_contiguous(program: Any, node: Any, *args: Any, **kwargs: Any) -> Tensor:
        updated: Tensor = update(program, node, *args, **kwargs)
        node.meta["val"] = node.meta["val"].contiguous()
        return updated

    with (
        patch.object(NamedDataStore, "add_named_data", add_nothing),
        patch.object(quantized_linear, "pack_4bit_weight_tensor", pack_once),
        patch.object(utils, "align_width_and_update_state_dict", update_looking_contiguous),
        patch.object(dim_order_pass, "convert_constant_dim_order_pass", lambda program: program),
    ):
        yield


def _report(stage: str, done: int, total: int) -> None:
    print(f"{time.process_time():7.1f} s  {stage}", flush=True)


def main(
    shape: Annotated[Size, typer.Argument(help="Size of the model.")],
    output: Annotated[Path, typer.Argument(help="The .zip to write.")],
    context: Annotated[int, typer.Option(min=2, help="Tokens the cache holds.")] = 4096,
) -> None:
    """Write the skeleton of a Llama-shaped decoder with 4-bit weights in groups of 32."""
    skeleton(SHAPES[shape], context).save(output)


if __name__ == "__main__":
    typer.run(main)
