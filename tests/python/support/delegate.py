"""Delegate graphs written by hand: the blobs of tests that no exporter stands behind.

    g = GraphBuilder()
    x = g.input(torch.float32, (9, 4))
    w = g.constant(torch.ones(4))
    y = g.call("aten.add.Tensor", x, w, 1, out=(torch.float32, (9, 4)))
    g.output(y)
    with g.load() as model:
        (sum,) = model.run(torch.zeros(3, 4))

Values are serialized as upstream's VkGraphBuilder does it, in particular one value per distinct
number: 1 and 1.0 are equal, so that an Int argument may arrive as a Double and the reverse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.backends.vulkan.serialization import vulkan_graph_schema as schema
from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
    serialize_vulkan_graph,
)

from .capi import Model

UINT64_MAX = (1 << 64) - 1

VK_DTYPES = {
    torch.bool: schema.VkDataType.BOOL,
    torch.uint8: schema.VkDataType.UINT8,
    torch.int8: schema.VkDataType.INT8,
    torch.int32: schema.VkDataType.INT32,
    torch.int64: schema.VkDataType.INT32,  # upstream records 64-bit types as 32-bit ones
    torch.float16: schema.VkDataType.FLOAT16,
    torch.float32: schema.VkDataType.FLOAT32,
    torch.float64: schema.VkDataType.FLOAT32,
}

TensorSpec = tuple[torch.dtype, Sequence[int]]


@dataclass(frozen=True)
class Value:
    """A value of the graph, by its id."""

    id: int


class _SymIntOut:
    """Stands for the output of a call that makes a live scalar."""


SYMINT = _SymIntOut()

Out = TensorSpec | _SymIntOut | Value | Sequence[TensorSpec]


@dataclass
class Delegate:
    """A blob with its constants, ready to be loaded as often as wanted."""

    blob: bytes
    named: dict[str, bytes]
    output_capacities: list[int]

    def load(self) -> Model:
        return Model(self.blob, self.named, self.output_capacities)


@dataclass
class GraphBuilder:
    """Collects values and calls in the order they are made."""

    values: list[schema.VkValue] = field(default_factory=list)
    chain: list[schema.OperatorCall] = field(default_factory=list)
    input_ids: list[int] = field(default_factory=list)
    output_ids: list[int] = field(default_factory=list)
    constants: list[tuple[str, int]] = field(default_factory=list)
    named: dict[str, bytes] = field(default_factory=dict)
    _scalars: dict[Any, int] = field(default_factory=dict)

    def input(self, dtype: torch.dtype, bound: Sequence[int]) -> Value:
        """A graph input of at most these sizes."""
        value = self._tensor(dtype, bound)
        self.input_ids.append(value.id)
        return value

    def symint_input(self) -> Value:
        """A live scalar that the host gives."""
        value = self._add(schema.SymInt(0))
        self.input_ids.append(value.id)
        return value

    def constant(self, tensor: torch.Tensor) -> Value:
        """A constant; equal bytes share one key, as upstream's do."""
        tensor = tensor.contiguous()
        narrow = {torch.int64: torch.int32, torch.float64: torch.float32}
        tensor = tensor.to(narrow.get(tensor.dtype, tensor.dtype))
        data = bytes(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        key = hashlib.sha256(data).hexdigest()
        self.named[key] = data
        self.constants.append((key, len(data)))
        return self._tensor(tensor.dtype, tensor.shape, constant_id=len(self.constants) - 1)

    def prepack(self, tensor: torch.Tensor) -> Value:
        """A constant behind et_vk.prepack, as most operators get theirs."""
        constant, spec = self.constant(tensor), (tensor.dtype, tensor.shape)
        prepacked: Value = self.call("et_vk.prepack.default", constant, out=spec)
        return prepacked

    def call(self, name: str, *args: Any, out: Out) -> Any:
        """Append a call; gives its output value, or a list of them for a list of specs.

        Args:
            args: values, numbers, strings, None, or (nested) lists of these.
            out: (dtype, bound) of the output, SYMINT, an existing value, or a list of specs.
        """
        ids = [self._argument(a) for a in args]
        result: Any
        if isinstance(out, list):
            result = [self._tensor(*spec) for spec in out]
            ids.append(self._add(schema.ValueList([v.id for v in result])).id)
        else:
            if isinstance(out, Value):
                result = out
            elif isinstance(out, _SymIntOut):
                result = self._add(schema.SymInt(0))
            else:
                result = self._tensor(*out)
            ids.append(result.id)
        self.chain.append(schema.OperatorCall(node_id=len(self.chain), name=name, args=ids))
        return result

    def symint(self, name: str, *args: Any) -> Value:
        """A call that makes a live scalar."""
        value = self.call(name, *args, out=SYMINT)
        assert isinstance(value, Value)
        return value

    def output(self, *values: Value) -> None:
        self.output_ids.extend(v.id for v in values)

    def graph(self) -> schema.VkGraph:
        """The schema's graph; it holds no constants yet (see delegate())."""
        return schema.VkGraph(
            version="0",
            chain=self.chain,
            values=self.values,
            input_ids=self.input_ids,
            output_ids=self.output_ids,
            constants=[],
            shaders=[],
        )

    def delegate(self) -> Delegate:
        blob = serialize_vulkan_graph(self.graph(), list(self.constants), [])
        return Delegate(blob, dict(self.named), [self._bytes(i) for i in self.output_ids])

    def load(self) -> Model:
        return self.delegate().load()

    def _bytes(self, value_id: int) -> int:
        tensor = self.values[value_id].value
        if not isinstance(tensor, schema.VkTensor):
            return 8
        return _bound_bytes(tensor)

    def _add(self, value: Any) -> Value:
        self.values.append(schema.VkValue(value))
        return Value(len(self.values) - 1)

    def _tensor(self, dtype: torch.dtype, bound: Sequence[int], constant_id: int = -1) -> Value:
        kind = VK_DTYPES[dtype]
        dims = [int(d) for d in bound]
        return self._add(
            schema.VkTensor(
                datatype=kind,
                dims=dims,
                constant_id=constant_id,
                mem_obj_id=-1,
                staging_datatype=kind,
            )
        )

    def _argument(self, arg: Any) -> int:
        if isinstance(arg, Value):
            return arg.id
        if arg is None:
            return self._add(schema.Null()).id
        if isinstance(arg, (bool, int, float)):
            return self._scalar(arg)
        if isinstance(arg, str):
            return self._add(schema.String(arg)).id
        if isinstance(arg, (list, tuple, torch.Size)):
            return self._list(list(arg)).id
        raise TypeError(f"an argument of type {type(arg).__name__}")

    def _scalar(self, scalar: bool | float) -> int:
        key = str(scalar) if isinstance(scalar, bool) else scalar
        if key not in self._scalars:
            kind = {bool: schema.Bool, int: schema.Int, float: schema.Double}[type(scalar)]
            self._scalars[key] = self._add(kind(scalar)).id
        return self._scalars[key]

    def _list(self, items: list[Any]) -> Value:
        for kind, make in (
            (bool, schema.BoolList),
            (int, schema.IntList),
            (float, schema.DoubleList),
        ):
            if all(type(i) is kind for i in items):
                return self._add(schema.IntList([]) if not items else make(items))
        return self._add(schema.ValueList([self._argument(i) for i in items]))


def exported(blob: bytes, named: dict[str, bytes], graph: schema.VkGraph) -> Delegate:
    """An exporter's delegate, ready to be loaded."""
    capacities = []
    for i in graph.output_ids:
        value = graph.values[i].value
        capacities.append(_bound_bytes(value) if isinstance(value, schema.VkTensor) else 8)
    return Delegate(blob, named, capacities)


def _bound_bytes(tensor: schema.VkTensor) -> int:
    sizes = {
        schema.VkDataType.BOOL: 1,
        schema.VkDataType.UINT8: 1,
        schema.VkDataType.INT8: 1,
        schema.VkDataType.FLOAT16: 2,
        schema.VkDataType.FLOAT64: 8,
        schema.VkDataType.INT32: 8,  # what is computed in 64 bits
        schema.VkDataType.INT64: 8,
    }
    count = sizes.get(tensor.datatype, 4)
    for dim in tensor.dims:
        count *= dim
    return count
