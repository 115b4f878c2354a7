"""Weights given back as soon as the exporter has them in another form.

Upstream packs a weight, writes it down as bytes, and holds all three to the end. Here a weight goes
when it is packed, and the packed one when it is bytes, so that an export takes little more memory
than the model's weights do before it. The model is of no use afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from executorch.backends.vulkan import utils
from executorch.backends.vulkan.patterns import quantized_embedding, quantized_linear
from executorch.backends.vulkan.serialization.vulkan_graph_builder import VkGraphBuilder
from torch import Tensor, fx
from torch.export import ExportedProgram

from ..heap import parts_of, trim_heap
from .quick import Part, replaced


@contextmanager
def spending(weights: Iterable[Tensor]) -> Iterator[None]:
    """Give back these tensors when they are written. Each is used once, and alone in its memory."""
    spent = _Spent(weights)
    packs = ("pack_4bit_weight_tensor", "weight_tensor inner_dim_padding", _by_rows)
    parts = [
        Part(
            utils,
            "update_program_state_dict",
            "program buffer_name updated_tensor",
            spent.when_replaced,
        ),
        Part(VkGraphBuilder, "maybe_add_constant_tensor", "self node", spent.when_written),
        Part(quantized_linear, *packs),
        Part(quantized_embedding, *packs),
    ]
    with replaced(parts):
        yield


class _Spent:
    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._left = {_address(weight) for weight in weights}

    def when_replaced(self, upstream: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(upstream)
        def update(program: ExportedProgram, buffer_name: str, updated_tensor: Tensor) -> None:
            old = _tensor(program, buffer_name)
            upstream(program, buffer_name, updated_tensor)
            new = _tensor(program, buffer_name)
            if old is not None and new is not None and _address(old) != _address(new):
                if _address(old) in self._left:
                    self._left.add(_address(new))
                self._give_back(old)

        return update

    def when_written(self, upstream: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(upstream)
        def write(builder: Any, node: fx.Node) -> int:
            constant = upstream(builder, node)
            tensor = _tensor(builder.program, node.name) if constant >= 0 else None
            if tensor is not None:
                self._give_back(tensor)
            return constant

        return write

    def _give_back(self, tensor: Tensor) -> None:
        """Whoever holds it still."""
        address = _address(tensor)
        if address in self._left:
            self._left.remove(address)  # others may get the address now
            tensor.untyped_storage().resize_(0)
            trim_heap()


def _by_rows(upstream: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Packing in parts: it makes several copies of what it is given."""

    @functools.wraps(upstream)
    def pack(weight_tensor: Tensor, **options: Any) -> Tensor:
        rows = len(weight_tensor)
        parts = list(parts_of(rows))
        if weight_tensor.ndim != 2 or len(parts) < 2:
            return upstream(weight_tensor, **options)
        packed: Tensor | None = None
        for part in parts:
            found = upstream(weight_tensor[part], **options)
            if packed is None:
                packed = found.new_empty(rows, found.shape[1])
            packed[part] = found
        assert packed is not None
        return packed

    return pack


def _tensor(program: ExportedProgram, placeholder: str) -> Tensor | None:
    signature = program.graph_signature
    for targets in (signature.inputs_to_buffers, signature.inputs_to_parameters):
        if placeholder in targets:
            found: Tensor | None = program.state_dict.get(targets[placeholder])
            return found
    return None


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
