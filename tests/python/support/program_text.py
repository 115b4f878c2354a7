"""What a program's file says of itself."""

from __future__ import annotations

from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.schema import KernelCall


def kernels_of(pte: bytes) -> set[str]:
    """The kernels that the program leaves to ExecuTorch."""
    found = set()
    for plan in deserialize_pte_binary(pte).program.execution_plan:
        for instruction in (i for chain in plan.chains for i in chain.instructions):
            if isinstance(instruction.instr_args, KernelCall):
                operator = plan.operators[instruction.instr_args.op_index]
                found.add(f"{operator.name}.{operator.overload}".removesuffix("."))
    return found
