"""Constants that are parts of larger tensors.

A delegate's file takes a tensor's storage from its beginning, wherever in it the tensor lies. So
each gets a storage of its own; equal tensors keep sharing one, and are stored once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram

from .graph import inputs, tensor_of


@dataclass(frozen=True)
class Region:
    """Where a tensor lies: tensors with equal regions are one."""

    storage: int
    begin: int
    end: int
    layout: tuple[object, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Region:
        storage = tensor.untyped_storage().data_ptr()
        size = tensor.element_size()
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = sum((n - 1) * stride for n, stride in steps) if tensor.numel() else -1
        begin = int(tensor.storage_offset()) * size
        layout = (tensor.dtype, tuple(tensor.shape), tensor.stride())
        return cls(storage, begin, begin + int(last + 1) * size, layout)

    def overlaps(self, other: Region) -> bool:
        return self.storage == other.storage and self.begin < other.end and other.begin < self.end


def own_storages(program: ExportedProgram) -> ExportedProgram:
    """The program with each of its tensors alone in its storage; the given one stays as it is."""
    result = copy.copy(program)
    copies: dict[Region, Tensor] = {}
    result._state_dict = _copied(program.state_dict, copies)
    result._constants = _copied(program.constants, copies)
    if any(region.layout != Region.of(own).layout for region, own in copies.items()):
        result._graph_module = copy.deepcopy(program.graph_module)
        _note_strides(result)
    return result


def _note_strides(program: ExportedProgram) -> None:
    """Tell the graph the strides of its tensors."""
    for node, spec in inputs(program):
        tensor, value = tensor_of(program, spec), node.meta.get("val")
        if (
            tensor is not None
            and isinstance(value, FakeTensor)
            and value.stride() != tensor.stride()
        ):
            with value.fake_mode:
                node.meta["val"] = torch.empty_strided(
                    tensor.shape, tensor.stride(), dtype=value.dtype
                )


def memory_conflicts(programs: Mapping[str, ExportedProgram]) -> dict[tuple[str, str], str]:
    """For buffers and constants by method and name, another that lies in the same memory.

    Whole tensors that are one have one name within a method, and may have others elsewhere.
    """
    used: dict[tuple[str, str], Region] = {}
    for method, program in programs.items():
        for node, spec in inputs(program):
            tensor = tensor_of(program, spec)
            if tensor is not None and node.users and spec.target is not None:
                used[method, spec.target] = Region.of(tensor)
    return {
        (method, name): f"'{other}' of the method '{elsewhere}'"
        for (method, name), region in used.items()
        for (elsewhere, other), its in used.items()
        if its.overlaps(region) and (its != region or (elsewhere == method and other != name))
    }


def _copied(tensors: Mapping[str, Any], copies: dict[Region, Tensor]) -> dict[str, Any]:
    return {
        name: _copy(value, copies) if isinstance(value, Tensor) else value
        for name, value in tensors.items()
    }


def _copy(tensor: Tensor, copies: dict[Region, Tensor]) -> Tensor:
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        return tensor
    region = Region.of(tensor)
    if region not in copies:
        # clone() keeps the strides of a dense tensor, and gives others those of a contiguous one.
        own = tensor.detach().clone()
        parameter = isinstance(tensor, nn.Parameter)
        copies[region] = nn.Parameter(own, tensor.requires_grad) if parameter else own
    return copies[region]
