"""Mutable buffers: what a program keeps from one call to the next.

A delegate may keep a state itself: everything that reads or writes it is then in that one delegate,
and its new contents are written once, after all else. Other states are ExecuTorch's: the delegate
takes their contents as an input and gives the new ones as an output.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from .graph import in_place_call, inputs, outputs


class PlanAgain(Exception):
    """The plan has changed, so that all methods must be lowered again."""


@dataclass
class StatePlan:
    """What is known of the buffers of a program's methods, by name."""

    users: dict[str, set[str]]  # the methods that use a buffer
    written: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)  # those that must be ExecuTorch's
    apart: set[tuple[str, str]] = field(default_factory=set)  # by method: has delegates for itself

    def is_shared(self, name: str) -> bool:
        """True for a state of several methods."""
        return name in self.written and len(self.users.get(name, ())) > 1

    def put_outside(self, name: str) -> None:
        """Keep a state out of all delegates."""
        self.outside.add(name)
        raise PlanAgain(name)

    def put_apart(self, method: str, name: str) -> None:
        """Read and write a state in delegates that do nothing else."""
        self.apart.add((method, name))
        raise PlanAgain(name)


@dataclass(frozen=True)
class State:
    """A buffer of a method that this or another method writes."""

    name: str
    buffer: fx.Node
    new: fx.Node | None  # its new contents; None where the method only reads it
    output: int = -1

    @property
    def in_place(self) -> bool:
        """True where a custom operator writes it."""
        return self.new is not None and in_place_call(self.new) is not None


def states_of(program: ExportedProgram, plan: StatePlan) -> list[State]:
    signature = program.graph_signature
    values = outputs(program)
    written = {
        spec.target: i
        for i, spec in enumerate(signature.output_specs)
        if spec.kind is OutputKind.BUFFER_MUTATION
    }
    found = []
    for node, spec in inputs(program):
        if spec.kind is not InputKind.BUFFER or spec.target is None:
            continue
        index = written.get(spec.target, -1)
        if index >= 0:
            plan.written.add(spec.target)
        if index >= 0 or (node.users and plan.is_shared(spec.target)):
            new = values[index] if index >= 0 else None
            found.append(State(spec.target, node, new, index))
    return found


def may_be_inside(state: State, plan: StatePlan) -> bool:
    """True unless its delegate would lose something: it keeps int64 states as int32.

    States that methods share have no choice: only delegates share them.
    """
    wide = state.buffer.meta["val"].dtype in (torch.int64, torch.float64)
    return plan.is_shared(state.name) or not (wide or state.name in plan.outside)


def delegate_of(state: State, plan: StatePlan) -> str | None:
    """The tag of the delegate that may keep a state, after the partitioner has set tags."""
    if not may_be_inside(state, plan) or not state.buffer.users:
        return None
    users = [*state.buffer.users, *([] if state.new is None else [state.new])]
    if state.in_place and state.new is not None:
        # The delegate does not give the new contents out.
        users += [user for user in state.new.users if user.op != "output"]
    tags = {user.meta.get("delegation_tag") for user in users}
    return tags.pop() if len(tags) == 1 else None
