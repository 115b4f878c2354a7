"""Programs of one call of one of ExecuTorch's own kernels, written without an exporter: of any
overload and any arguments, in a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.exir import schema
from executorch.exir._serialize._program import PTEFile, serialize_pte_binary
from executorch.exir.tensor import scalar_type_enum
from torch import Tensor

_NO_SEGMENT = schema.SubsegmentOffsets(segment_index=0, offsets=[])


@dataclass(frozen=True)
class Output:
    """What an output is recorded as; `bound` where its sizes are dynamic.

    Attributes:
        like: a tensor of its dtype and sizes, or a number of its kind.
    """

    like: Any
    bound: Sequence[int] | None = None


@dataclass
class _Plan:
    """Values and memory under construction."""

    values: list[schema.EValue] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    bytes: int = 0

    def add(self, value: Any) -> int:
        self.values.append(schema.EValue(value))
        return len(self.values) - 1

    def tensor(self, like: Tensor, bound: Sequence[int] | None = None) -> int:
        sizes = list(like.shape if bound is None else bound)
        at = self.bytes
        count = torch.Size(sizes).numel()
        self.bytes += -(-max(count, 1) * like.element_size() // 16) * 16
        dynamism = schema.TensorShapeDynamism
        return self.add(
            schema.Tensor(
                scalar_type=scalar_type_enum(like.dtype),
                storage_offset=0,
                sizes=sizes,
                dim_order=list(range(len(sizes))),
                requires_grad=False,
                layout=0,
                data_buffer_idx=0,
                allocation_info=schema.AllocationDetails(1, at, 0),
                shape_dynamism=dynamism.STATIC if bound is None else dynamism.DYNAMIC_BOUND,
            )
        )

    def argument(self, value: Any, kind: str = "") -> int:
        """`kind` is the type that the operator's schema has."""
        if isinstance(value, Tensor):
            self.inputs.append(self.tensor(value, value.shape))
            return self.inputs[-1]
        if value is None:
            return self.add(schema.Null())
        if isinstance(value, str):
            return self.add(schema.String(value))
        if isinstance(value, torch.dtype):
            return self.add(schema.Int(int(scalar_type_enum(value))))
        if isinstance(value, bool):
            return self.add(schema.Bool(value))
        if isinstance(value, int):
            return self.add(schema.Double(value) if kind == "float" else schema.Int(value))
        if isinstance(value, float):
            return self.add(schema.Double(value))
        if any(isinstance(item, Tensor) for item in value) or "Tensor" in kind:
            ids = [-1 if item is None else self.argument(item) for item in value]
            make = (
                schema.OptionalTensorList if -1 in ids or "Optional" in kind else schema.TensorList
            )
            return self.add(make(ids))
        return self.add(schema.IntList([self.argument(item) for item in value]))

    def output(self, output: Output) -> int:
        if isinstance(output.like, Tensor):
            return self.tensor(output.like, output.bound)
        return self.argument(output.like)


def program(
    name: str,
    arguments: Sequence[Any],
    outputs: Sequence[Output],
    *,
    kinds: Sequence[str] = (),
    listed: bool = False,
    returned: bool = True,
    in_place: bool = False,
) -> bytes:
    """The .pte whose method ``forward`` takes the tensors among `arguments` and gives `outputs`.

    Args:
        name: as the kernel is registered, "aten::add.out".
        kinds: the arguments' types as the operator's schema has them.
        listed: the kernel takes one list of outputs.
        returned: what it returns is an argument of the call, too.
        in_place: the output is the first argument.
    """
    plan = _Plan()
    kinds = [*kinds, *[""] * len(arguments)]
    ids = [plan.argument(a, kind) for a, kind in zip(arguments, kinds, strict=False)]
    if in_place:
        return _written(plan, ids[:1], ids + ids[:1] * returned, _operator(name))
    outs = [plan.output(output) for output in outputs]
    if listed:
        ids += [plan.add(schema.TensorList(outs))] * 2
    else:
        several = returned and len(outs) > 1
        ids += outs + ([plan.add(schema.TensorList(outs))] if several else outs * returned)
    return _written(plan, outs, ids, _operator(name))


def _operator(name: str) -> schema.Operator:
    operator, _, overload = name.partition(".")
    return schema.Operator(operator, overload)


def _written(plan: _Plan, outs: list[int], ids: list[int], operator: schema.Operator) -> bytes:
    call = schema.Instruction(schema.KernelCall(op_index=0, args=ids))
    forward = schema.ExecutionPlan(
        name="forward",
        container_meta_type=schema.ContainerMetadata("", ""),
        values=plan.values,
        inputs=plan.inputs,
        outputs=outs,
        chains=[schema.Chain(inputs=[], outputs=[], instructions=[call], stacktrace=None)],
        operators=[operator],
        delegates=[],
        non_const_buffer_sizes=[0, max(plan.bytes, 16)],
    )
    made = schema.Program(
        version=0,
        execution_plan=[forward],
        constant_buffer=[schema.Buffer(b"")],
        backend_delegate_data=[],
        segments=[],
        constant_segment=_NO_SEGMENT,
    )
    return bytes(serialize_pte_binary(PTEFile(made)))
