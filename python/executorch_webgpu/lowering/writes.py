"""New contents of states, each as a value of its own that is written after all else."""

from __future__ import annotations

from torch import fx
from torch.export import ExportedProgram

from .apart import overwrite, set_apart
from .graph import append_copy, origin, outputs, replace_output
from .states import State, StatePlan, may_be_inside, states_of


def write_states(program: ExportedProgram, method: str, plan: StatePlan) -> None:
    """Write each of a method's states once, as the plan has it."""
    states = states_of(program, plan)
    for state in states:
        if (method, state.name) not in plan.apart and not state.in_place:
            _write_last(program, state, plan)
    set_apart(program, [state for state in states if (method, state.name) in plan.apart])


def _write_last(program: ExportedProgram, state: State, plan: StatePlan) -> None:
    new = state.new
    if new is None:
        return
    if may_be_inside(state, plan):
        read = bool(state.buffer.users)
        copy = append_copy(program, new) if read else overwrite(program, new, state.buffer)
        replace_output(program, state.output, copy)
    elif _is_shared(program, new):
        replace_output(program, state.output, append_copy(program, new))


def _is_shared(program: ExportedProgram, new: fx.Node) -> bool:
    """True where a state's new contents are an output too, or another state's old contents."""
    is_old = origin(new, through_views=True).op == "placeholder"
    return is_old or outputs(program).count(new) > 1
