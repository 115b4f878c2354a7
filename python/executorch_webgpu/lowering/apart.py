"""States of several methods that in one of them cannot be in a single delegate.

ExecuTorch's own kernels do not share buffers between methods, but delegates do. So a first delegate
reads such a state and does nothing else, and a last one writes it.
"""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputSpec, OutputKind, TensorArgument

from .graph import (
    append,
    append_copy,
    aten,
    inputs,
    is_tensor,
    keep_out,
    outputs,
    replace_output,
    tensor_of,
)
from .states import State

_KEY = "etwebgpu_delegate"
FIRST, LAST = "states_before", "states_after"
# A reader's name for a state.
BEFORE = "__before"
_COPIED = (torch.float32, torch.float16, torch.int32, torch.int64, torch.bool)


def set_apart(program: ExportedProgram, states: list[State]) -> None:
    """Read `states` before, and write them after everything else."""
    for state in states:
        if state.buffer.users:
            state.buffer.replace_all_uses_with(_read_before(program, state))
    written = [state for state in states if state.output >= 0]
    for state in written:
        given = set(program.graph.nodes)
        new = overwrite(program, outputs(program)[state.output], state.buffer)
        for node in set(program.graph.nodes) - given:
            _put_in(node, LAST)
        replace_output(program, state.output, new)
    if written:
        _pass_an_output_through(program)


def overwrite(program: ExportedProgram, new: fx.Node, buffer: fx.Node) -> fx.Node:
    """The value of `new`, computed from the buffer too: only what is read is part of a delegate."""
    val = buffer.meta["val"]

    def call(target: object, *args: object) -> fx.Node:
        return append(program, target, args, val.clone())

    if val.dtype == torch.bool:
        never = call(aten.logical_and.default, buffer, call(aten.logical_not.default, buffer))
        return call(aten.logical_or.default, new, never)
    if not val.dtype.is_floating_point:
        return call(aten.sub.Tensor, call(aten.add.Tensor, new, buffer), buffer)
    with val.fake_mode:
        condition = torch.full([1], True)
    always = append(program, aten.full.default, ([1], True), condition)
    return call(aten.where.self, always, new, buffer)


def delegate_apart(node: fx.Node) -> str | None:
    """FIRST or LAST for the nodes of those delegates."""
    tag: str | None = node.meta.get(_KEY)
    return tag


def _read_before(program: ExportedProgram, state: State) -> fx.Node:
    graph, signature = program.graph, program.graph_signature
    index, spec = next((i, s) for i, (n, s) in enumerate(inputs(program)) if n is state.buffer)
    with graph.inserting_before(state.buffer):
        before = graph.placeholder(state.buffer.name + BEFORE)
    before.meta = dict(state.buffer.meta)
    tensor, target = tensor_of(program, spec), state.name + BEFORE
    assert tensor is not None
    signature.input_specs.insert(
        index, InputSpec(spec.kind, TensorArgument(before.name), target, spec.persistent)
    )
    if spec.persistent:
        program._state_dict = {**program.state_dict, target: tensor}
    else:
        program._constants = {**program.constants, target: tensor}
    first = next(node for node in graph.nodes if node.op != "placeholder")
    with graph.inserting_before(first):
        dims = list(range(before.meta["val"].dim()))
        copy: fx.Node = graph.call_function(aten.permute_copy.default, (before, dims))
    copy.meta["val"] = before.meta["val"].clone()
    return _put_in(copy, FIRST)


def _pass_an_output_through(program: ExportedProgram) -> None:
    """Copy an output in the last delegate, for none may be without one."""
    for index, spec in enumerate(program.graph_signature.output_specs):
        value = outputs(program)[index]
        is_tensor_output = spec.kind is OutputKind.USER_OUTPUT and isinstance(value, fx.Node)
        if is_tensor_output and is_tensor(value) and value.meta["val"].dtype in _COPIED:
            replace_output(program, index, _put_in(append_copy(program, value), LAST))
            return


def _put_in(node: fx.Node, delegate: str) -> fx.Node:
    keep_out(node)
    node.meta[_KEY] = delegate
    return node
