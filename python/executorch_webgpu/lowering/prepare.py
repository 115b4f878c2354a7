"""Everything that is rewritten in a method before it becomes edge operators, in order."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

from torch.export import ExportedProgram

from .attention import keep_attention_whole
from .bare_numbers import use_bare_numbers
from .byte_tables import look_up_in_bytes
from .cache_writes import functionalized
from .eight_bits import keep_eight_bits
from .folded import Folded, written_buffers
from .plain_caches import keep_caches

Names = Mapping[str, Mapping[str, str]]


def prepared(
    programs: Mapping[str, ExportedProgram], names: Names, consecutive: Collection[str] = ()
) -> dict[str, ExportedProgram]:
    """The programs with what the exporter would take apart whole; the given ones stay as they are.

    Args:
        names: of each method's buffers, those that are the same for the same buffer.
        consecutive: inputs whose numbers count up by one.
    """
    own = {method: _own(functionalized(program)) for method, program in programs.items()}
    everywhere = {names[m].get(name, name) for m, p in own.items() for name in written_buffers(p)}
    folded = {
        m: Folded(p, {old for old, new in names[m].items() if new in everywhere})
        for m, p in own.items()
    }
    keep_caches(own, names, folded, consecutive)
    for method, program in own.items():
        keep_attention_whole(program, folded[method])
        keep_eight_bits(program, folded[method])
        look_up_in_bytes(program, folded[method])
        use_bare_numbers(program, folded[method])
        program.graph.lint()
        program.graph_module.recompile()
    return own


def _own(program: ExportedProgram) -> ExportedProgram:
    """A copy whose graph and tables may change; tensors are shared."""
    result = copy.copy(program)
    result._graph_module = copy.deepcopy(program.graph_module)
    result._graph_signature = copy.deepcopy(program.graph_signature)
    result._state_dict = dict(program.state_dict)
    result._constants = dict(program.constants)
    return result
