"""Outputs that are other outputs, inputs or constants under another name.

The exporter drops copies inside a delegate and then writes one output for two, which the program
still expects. Each output therefore becomes a value of its own.
"""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from .graph import append_copy, in_place_call, is_tensor, origin, outputs, replace_output

_STATES = (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION)


def separate_outputs(program: ExportedProgram) -> None:
    """Give a copy to each output whose value is also an input, a constant or an earlier output.

    States are left alone, and may share their values with outputs afterwards.
    """
    mutated = set(_mutated_inputs(program))
    taken: set[fx.Node] = set()
    values = outputs(program)
    for index, spec in enumerate(program.graph_signature.output_specs):
        value = values[index]
        if not isinstance(value, fx.Node) or not is_tensor(value):
            continue
        source = origin(value)
        if spec.kind in _STATES:
            if in_place_call(value):
                taken.add(source)
            continue
        # ExecuTorch makes views of a state, which show its new contents.
        is_state = origin(value, through_views=True).name in mutated
        if source.op == "placeholder" or source in taken or is_state:
            source = append_copy(program, value)
            replace_output(program, index, source)
        taken.add(source)


def _mutated_inputs(program: ExportedProgram) -> list[str]:
    signature = program.graph_signature
    names = {target: name for name, target in signature.inputs_to_buffers.items()}
    mutated = [names[t] for t in signature.buffers_to_mutate.values() if t in names]
    return mutated + list(signature.user_inputs_to_mutate.values())
