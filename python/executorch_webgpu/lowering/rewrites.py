"""Everything that is rewritten in a method after it has become edge operators, in order."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from executorch.exir.pass_base import ExportedProgramPassBase, ExportedProgramPassResult
from torch.export import ExportedProgram

from .asserts import drop_asserts
from .caches import settle_caches
from .computed import make_constants
from .four_bits import pad_four_bit_layers
from .graph import name_outputs
from .names import rename_buffers
from .numbers import keep_out_wide_numbers
from .outputs import separate_outputs
from .rotary import keep_other_embeddings
from .scalars import use_tensors_for_numbers
from .states import StatePlan
from .strides import view_what_lies_so
from .unchanged import drop_what_changes_nothing
from .writes import write_states


class Rewrites(ExportedProgramPassBase):  # type: ignore[misc]
    def __init__(self, method: str, names: Mapping[str, str], plan: StatePlan) -> None:
        self.method, self.names, self.plan = method, names, plan

    def call(self, exported_program: ExportedProgram) -> ExportedProgramPassResult:
        program = rename_buffers(copy.copy(exported_program), self.names)
        drop_asserts(program)
        make_constants(program)
        view_what_lies_so(program)
        keep_out_wide_numbers(program)
        use_tensors_for_numbers(program)
        drop_what_changes_nothing(program)
        keep_other_embeddings(program)
        pad_four_bit_layers(program)
        separate_outputs(program)
        settle_caches(program, self.plan.outside)
        # Last: states are written after everything else has read them.
        write_states(program, self.method, self.plan)
        name_outputs(program)
        program.graph.lint()
        program.graph_module.recompile()
        return ExportedProgramPassResult(program, True)
