"""Programs exactly as the stock partitioner writes them, without this project's lowering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import (
    EdgeCompileConfig,
    ExecutorchBackendConfig,
    to_edge_transform_and_lower,
)
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
from executorch.runtime import Method, Runtime
from executorch_webgpu.lowering import quiet_upstream

from . import export as _faster_lowering  # noqa: F401  caches the partitioner's pattern graphs

Module = torch.nn.Module


def export(
    methods: Mapping[str, tuple[Module, Sequence[Any]]],
    *,
    dynamic_shapes: Any = None,
    **options: Any,
) -> bytes:
    """The .pte of a module and its example inputs for each method."""
    with quiet_upstream(), torch.no_grad():
        graphs = {
            name: torch.export.export(
                module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes, strict=False
            )
            for name, (module, inputs) in methods.items()
        }
        edge = to_edge_transform_and_lower(
            graphs,
            partitioner={name: [VulkanPartitioner(dict(options))] for name in graphs},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )
        program = edge.to_executorch(
            ExecutorchBackendConfig(
                extract_delegate_segments=True,
                sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
                memory_planning_pass=MemoryPlanningPass(share_mutable_buffers=len(graphs) > 1),
            )
        )
    return bytes(program.buffer)


class Program:
    """A .pte on the stock runtime. Outputs are copies."""

    def __init__(self, pte: bytes) -> None:
        self._program = Runtime.get().load_program(pte)

    def load(self, method: str = "forward") -> Method:
        loaded = self._program.load_method(method)
        assert loaded is not None
        return loaded

    def run(self, method: str, *inputs: Any) -> list[Any]:
        return [o.clone() for o in self.load(method).execute(list(inputs))]

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.run("forward", *inputs)


def program(module: Module, *inputs: Any, dynamic_shapes: Any = None, **options: Any) -> Program:
    """`module` with one method, ready to run."""
    pte = export({"forward": (module, inputs)}, dynamic_shapes=dynamic_shapes, **options)
    return Program(pte)
