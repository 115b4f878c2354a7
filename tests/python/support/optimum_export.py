"""Small models through optimum-executorch's tasks: its loaders, its modules, its quantization.

It pins another transformers than the tests have: `scripts/test_optimum.sh` installs both apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optimum.exporters.executorch.convert as _registers_attention  # noqa: F401
import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import (
    EdgeCompileConfig,
    ExecutorchBackendConfig,
    to_edge_transform_and_lower,
)
from executorch_webgpu.lowering import lower_program, quiet_upstream
from optimum.executorch.passes.remove_padding_idx_embedding_pass import (
    RemovePaddingIdxEmbeddingPass,
)
from optimum.exporters.executorch.task_registry import discover_tasks, task_registry
from torch import Tensor

from . import quick_export as _faster_lowering  # noqa: F401
from .decoders import transformers
from .export_llm import with_other_bits

discover_tasks()

CONTEXT, VOCABULARY, WINDOW = 128, 320, 16
_PROMPT, _STEPS = (12, 8), 12
_DECODER: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_WORDS = {"vocab_size": VOCABULARY, "max_position_embeddings": 65, "pad_token_id": 0}
_IMAGES = {"image_size": 32, "patch_size": 8, "num_labels": 10}

# By model, its class and what its configuration has beside the usual.
DECODERS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {},
    "SmolLM3": {},
    "Gemma": {},
    "Phi3": {},
    "Olmo": {},
    "Granite": {},
    "Gemma2": {"sliding_window": WINDOW},
    "Gemma3": {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
}
OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Bert": ("fill-mask", "ForMaskedLM", {**_ENCODER, **_WORDS}),
    "ViT": ("image-classification", "ForImageClassification", {**_ENCODER, **_IMAGES}),
    "Beit": ("image-classification", "ForImageClassification", {**_ENCODER, **_IMAGES}),
}


@dataclass(frozen=True)
class Form:
    """A model and what optimum-executorch is told."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.model}-{self.said}" if self.options else self.model

    @property
    def said(self) -> str:
        """The options as in a table."""
        return ", ".join(n if v is True else f"{n} {v}" for n, v in self.options.items()) or "–"


@dataclass
class Exported:
    """The methods of a program before it is lowered, and calls of its one."""

    methods: dict[str, torch.export.ExportedProgram]
    constants: dict[str, Any]
    calls: list[tuple[Tensor, ...]]
    names: list[str | None]  # of keyword arguments

    def __post_init__(self) -> None:
        (program,) = self.methods.values()
        # Now: the stock exporter takes constants out of what it is given.
        self._eager = copy.deepcopy(program.module())
        self._nearby = with_other_bits(self._eager)

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self._run(self._eager, inputs)

    def is_settled(self, expected: Tensor, *inputs: Tensor) -> bool:
        """Whether norms' weights that differ in their last bits give this, too."""
        moved = (self._run(self._nearby, inputs) - expected).abs().max()
        return bool(moved <= 1e-4 * expected.abs().max())

    @torch.no_grad()
    def _run(self, module: Any, inputs: Sequence[Tensor]) -> Tensor:
        named = list(zip(self.names, inputs, strict=True))
        args = [x for name, x in named if name is None]
        found = module(*args, **{name: x for name, x in named if name is not None})
        (logits,) = torch.utils._pytree.tree_leaves(found)
        return logits  # type: ignore[no-any-return]


def export(form: Form, folder: Path) -> Exported:
    """As optimum's command does, up to its recipes."""
    is_decoder = form.model in DECODERS
    task, suffix, sizes = OTHERS.get(form.model) or ("text-generation", "ForCausalLM", {})
    sizes = {**_DECODER, **DECODERS[form.model]} if is_decoder else sizes
    _write(form.model, suffix, sizes, folder)
    options = {"max_seq_len": CONTEXT} if is_decoder else {}
    with quiet_upstream(), torch.no_grad():
        module = task_registry[task](str(folder), **options, **form.options)
        (program,) = module.export().values()
    calls, names = _calls(form, program)
    return Exported({"forward": program}, module.metadata, calls, names)


def _write(model: str, suffix: str, sizes: Mapping[str, Any], folder: Path) -> None:
    name = "Gemma3TextConfig" if model == "Gemma3" else f"{model}Config"
    torch.manual_seed(0)
    made = getattr(transformers, model + suffix)(getattr(transformers, name)(**sizes)).eval()
    for parameter in made.parameters():
        if parameter.ndim == 1:  # else norms' are ones, and nobody sees that one is left out
            parameter.data.add_(torch.randn(parameter.shape) * 0.2)
    made.save_pretrained(folder)


def _calls(
    form: Form, program: torch.export.ExportedProgram
) -> tuple[list[tuple[Tensor, ...]], list[str | None]]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, VOCABULARY, (1, CONTEXT), generator=generator)
    if form.model in DECODERS:
        first = next(n for n in program.graph.nodes if n.name == "input_ids").meta["val"]
        is_one = isinstance(first.shape[1], int)
        runs = (1,) * WINDOW if is_one else (*_PROMPT, *(1,) * _STEPS)
        ends = torch.tensor(runs).cumsum(0).tolist()
        spans = [torch.arange(end - n, end) for end, n in zip(ends, runs, strict=True)]
        return [(tokens[:, at], at) for at in spans], ["input_ids", "cache_position"]
    if OTHERS[form.model][0] == "fill-mask":
        seen = [(n, torch.arange(n)[None] < n - n // 3) for n in (7, 64, 33)]
        return [(tokens[:, :n], s.long()) for n, s in seen], [None, "attention_mask"]
    side = _IMAGES["image_size"]
    return [(torch.randn(1, 3, side, side, generator=generator),)], ["pixel_values"]


def lowered(exported: Exported) -> Any:
    """As docs/decoders.md has it."""
    options = {"require_dynamic_shapes": True}
    with quiet_upstream(), torch.no_grad():
        return lower_program(
            exported.methods, options, exported.constants, consecutive=["cache_position"]
        )


def stock(exported: Exported) -> Any:
    """As optimum's recipes would, had one the Vulkan partitioner."""
    with quiet_upstream(), torch.no_grad():
        edge = to_edge_transform_and_lower(
            dict(exported.methods),
            partitioner=[VulkanPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
            constant_methods=exported.constants,
            transform_passes=[RemovePaddingIdxEmbeddingPass()],
        )
        return edge.to_executorch(ExecutorchBackendConfig(extract_delegate_segments=True))


HOW: dict[str, Callable[[Exported], Any]] = {"stock": stock, "lowered": lowered}
