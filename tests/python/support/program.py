"""Whole programs: torch modules to .pte files, and running those through the stock runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from executorch_webgpu.lowering import partition, plan_memory, quiet_upstream

from . import export as _faster_lowering  # noqa: F401  caches the partitioner's pattern graphs


@dataclass(frozen=True)
class Saved:
    """A program on disk; `ptd` holds its external weights, or `ptds` where they are split."""

    pte: Path
    ptd: Path | None = None
    ptds: tuple[Path, ...] = ()


def save(
    folder: Path,
    name: str,
    module: torch.nn.Module,
    inputs: Sequence[Any],
    *,
    dynamic_shapes: Any = None,
    options: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    partly: bool = False,
) -> Saved:
    """Lower `module` with the stock WebGPU partitioner.

    Args:
        inputs: example arguments.
        dynamic_shapes: as for torch.export.export.
        options: the partitioner's compile options.
        constants: values of constant methods, by name.
        partly: some operators may be left to ExecuTorch's own kernels.
    """
    resizable = {"require_dynamic_shapes": True} if dynamic_shapes is not None else {}
    with quiet_upstream(), torch.no_grad():
        graph = torch.export.export(
            module.eval(), tuple(inputs), dynamic_shapes=dynamic_shapes, strict=False
        )
        edge = partition(graph, {**resizable, **(options or {})}, constants)
        nodes = edge.exported_program().graph.nodes
        left = [str(n.target) for n in nodes if n.op == "call_function"]
        left = [t for t in left if "call_delegate" not in t and "getitem" not in t]
        assert partly or not left, f"{name}: not delegated: {left}"
        program = plan_memory(edge)
    return write(folder, name, program)


def write(folder: Path, name: str, program: Any) -> Saved:
    """Write a program as ``name.pte`` and its external weights as ``name.ptd``, or into the folder
    ``name.data`` if they are split."""
    pte = folder / f"{name}.pte"
    with pte.open("wb") as file:
        program.write_to_file(file)
    data = folder / f"{name}.data"
    data.mkdir()
    program.write_tensor_data_to_file(str(data))
    written = sorted(data.glob("*.ptd"))
    if not written:
        return Saved(pte)
    if len(written) > 1:
        return Saved(pte, ptds=tuple(written))
    return Saved(pte, written[0].rename(folder / f"{name}.ptd"))


def stock_forward(saved: Saved, **options: Any) -> Callable[..., list[Any]]:
    """``forward`` by nothing but executorch.runtime, as a function of its inputs."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(saved.pte, data_path=saved.ptd, **options)
    method = program.load_method("forward")
    assert method is not None

    def forward(*inputs: Any) -> list[Any]:
        return list(method.execute(inputs))

    return forward
