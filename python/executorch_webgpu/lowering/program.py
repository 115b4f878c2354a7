"""Lowering programs of torch.export, with everything in them that the exporter gets wrong."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchBackendConfig,
    ExecutorchProgramManager,
    to_edge_transform_and_lower,
)
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram

from .constants import memory_conflicts, own_storages
from .graph import LoweringError
from .names import name_states, noting_constants, shared_names, users_of
from .partitioner import StatePartitioner
from .prepare import prepared
from .quick import quick_upstream
from .rewrites import Rewrites
from .states import PlanAgain, StatePlan
from .symbols import keeping_symbols

__all__ = ["LoweringError", "lower_program", "partition", "plan_memory", "quiet_upstream"]

Methods = ExportedProgram | Mapping[str, ExportedProgram]


def lower_program(
    methods: Methods,
    options: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    *,
    dim_order: bool = False,
    portable: bool = False,
    consecutive: Collection[str] = (),
) -> ExecutorchProgramManager:
    """An ExecuTorch program of one method, "forward", or of several by name.

    Methods share their mutable buffers: two buffers are one where their memory is the same, or else
    where their names, types, sizes and contents are.

    Args:
        methods: what torch.export.export gave.
        options: the partitioner's compile options.
        constants: values of the program's constant methods, by name.
        dim_order: keep executorch's dim_order operators for copies.
        portable: delegate only what every runtime of the delegate takes; else convolutions of
            several images, too, which ExecuTorch's Vulkan runtime does not compute.
        consecutive: inputs whose numbers count up by one from the first, by their names, as the
            positions of new tokens do in transformers' `cache_position`. Caches that are written
            there, and attention to what was written before, are kept in the delegate then.

    Raises:
        LoweringError: the program cannot be lowered so that it computes what eager PyTorch does.
    """
    edge = partition(
        methods,
        options,
        constants,
        dim_order=dim_order,
        portable=portable,
        consecutive=consecutive,
    )
    return plan_memory(edge)


def partition(
    methods: Methods,
    options: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    *,
    dim_order: bool = False,
    portable: bool = False,
    consecutive: Collection[str] = (),
) -> EdgeProgramManager:
    """The program with delegates in place of what the WebGPU partitioner takes.

    It stands between `lower_program` and `plan_memory`, for those who look at it or change it.
    """
    given = {"forward": methods} if isinstance(methods, ExportedProgram) else dict(methods)
    names = shared_names(given)
    conflicts = {names[m].get(n, n): other for (m, n), other in memory_conflicts(given).items()}
    programs = prepared({m: own_storages(p) for m, p in given.items()}, names, consecutive)
    plan = StatePlan(users_of(names))
    while True:
        try:
            with noting_constants() as noted, quick_upstream(), keeping_symbols():
                edge = to_edge_transform_and_lower(
                    programs,
                    transform_passes={m: [Rewrites(m, names[m], plan)] for m in programs},
                    partitioner={
                        m: [StatePartitioner(m, options or {}, plan, conflicts, portable)]
                        for m in programs
                    },
                    compile_config=EdgeCompileConfig(
                        _check_ir_validity=False, _skip_dim_order=not dim_order
                    ),
                    constant_methods=dict(constants or {}),
                )
        except PlanAgain:
            for program in programs.values():
                _forget_symbols(program)
            continue
        name_states(edge, programs, noted, plan)
        return edge


def _forget_symbols(program: ExportedProgram) -> None:
    """Drop the symbols that tracing has left over: the next would miss them among its own."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor) and value.fake_mode.shape_env is not None:
            value.fake_mode.shape_env.pending_fresh_unbacked_symbols.clear()


def plan_memory(edge: EdgeProgramManager) -> ExecutorchProgramManager:
    """The program as it is written; delegates and weights are segments of their own."""
    config = ExecutorchBackendConfig(
        extract_delegate_segments=True,
        sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
        memory_planning_pass=MemoryPlanningPass(share_mutable_buffers=len(edge.methods) > 1),
    )
    with quick_upstream(), keeping_symbols():
        return edge.to_executorch(config)


@contextmanager
def quiet_upstream() -> Iterator[None]:
    """Without the deprecation warnings and notices that no user of an export can act on."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
