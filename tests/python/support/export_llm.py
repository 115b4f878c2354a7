"""A small language model through ExecuTorch's own ``export_llm``, in the forms that it offers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.examples.models.llama import export_llama_lib
from executorch.examples.models.llama.llama_transformer import construct_transformer
from executorch.examples.models.llama.model_args import ModelArgs
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.llm.export.builder import LLMEdgeManager
from executorch.extension.llm.export.config.llm_config import LlmConfig, MethodConfig, Pt2eQuantize
from executorch_webgpu.lowering import lower_program, quiet_upstream
from torch import Tensor, nn

from . import quick_export as _faster_lowering  # noqa: F401

CONTEXT = 128
VOCABULARY = 320
_GROUP = 32
_SHAPE = {
    "dim": 128,
    "n_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 2,
    "hidden_dim": 256,
    "vocab_size": VOCABULARY,
    "norm_eps": 1e-5,
}
# Of a prompt and what follows it, the tokens of each call.
_PROMPT, _STEPS = (12, 8), 12

WEIGHTS = ("floats", "4w", "8da4w", "int8", "vulkan_8w")
LENGTHS = ("any", "one")


@dataclass(frozen=True)
class Form:
    """How a model is exported.

    Attributes:
        weights: "floats", a mode of ``quantization.qmode``, or PT2E's "vulkan_8w".
        attention: "custom" for ``use_sdpa_with_kv_cache``, "plain" for a cache without it, "8 bits"
            for ``quantize_kv_cache``, "none" for no cache.
        length: "any" for ``enable_dynamic_shape``, "one" for a fixed one.
        embedding: "floats", or bits and group as ``quantization.embedding_quantize`` has them.
    """

    weights: str
    attention: str = "custom"
    length: str = "any"
    embedding: str = "floats"

    def __str__(self) -> str:
        return f"{self.weights}-{self.attention}-{self.length}-{self.embedding}"

    @property
    def has_cache(self) -> bool:
        return self.attention != "none"

    def calls(self) -> Iterator[tuple[Tensor, ...]]:
        """Inputs of a conversation, each with its position where there is a cache."""
        tokens = torch.randint(
            0, VOCABULARY, (1, CONTEXT), generator=torch.Generator().manual_seed(1)
        )
        if not self.has_cache:
            counts = (5, CONTEXT - 1, 20) if self.length == "any" else (CONTEXT,)
            yield from ((tokens[:, :count],) for count in counts)
            return
        at = 0
        prompt = _PROMPT if self.length == "any" else (1,) * sum(_PROMPT)
        for count in (*prompt, *(1,) * _STEPS):
            yield tokens[:, at : at + count], torch.tensor([at])
            at += count


def make_checkpoint(folder: Path) -> Path:
    """A seeded model as ``params.json`` and ``model.pth`` in `folder`."""
    torch.manual_seed(0)
    model = construct_transformer(ModelArgs(max_seq_len=CONTEXT, max_context_len=CONTEXT, **_SHAPE))
    named = dict(model.named_parameters())
    for name, value in named.items():
        if "norm" in name:  # else they are ones, and nobody sees that one is left out
            nn.init.uniform_(value, 0.5, 1.5)
    torch.save({name: value.detach() for name, value in named.items()}, folder / "model.pth")
    (folder / "params.json").write_text(json.dumps(_SHAPE))
    return folder


def config(form: Form, checkpoint: Path) -> LlmConfig:
    """What ``export_llm`` is told."""
    made = LlmConfig()
    made.base.checkpoint = str(checkpoint / "model.pth")
    made.base.params = str(checkpoint / "params.json")
    made.export.max_seq_length = made.export.max_context_length = CONTEXT
    made.model.use_kv_cache = form.has_cache
    made.model.use_sdpa_with_kv_cache = form.attention in ("custom", "8 bits")
    made.model.quantize_kv_cache = form.attention == "8 bits"
    made.model.enable_dynamic_shape = form.length == "any"
    made.backend.vulkan.enabled = True
    if form.weights == "vulkan_8w":
        made.quantization.pt2e_quantize = Pt2eQuantize.vulkan_8w
    elif form.weights != "floats":
        made.quantization.qmode, made.quantization.group_size = form.weights, _GROUP
    if form.embedding != "floats":
        made.quantization.embedding_quantize = form.embedding
    return made


class Settles(Protocol):
    """A model in eager that knows where its own logits are about to take another step."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Logits."""

    def is_settled(self, expected: Tensor, *inputs: Tensor) -> bool:
        """Whether norms' weights that differ in their last bits give these logits, too."""


class Eager:
    """The model with its weights as they were quantized; PT2E does that to the graph."""

    def __init__(self, form: Form, builder: LLMEdgeManager) -> None:
        in_graph = form.weights == "vulkan_8w"
        self._module = builder.pre_autograd_graph_module if in_graph else builder.model
        # Where x is rounded to 8 bits, its last bits may decide which of two steps it takes.
        self._nearby = with_other_bits(self._module) if form.weights == "8da4w" else None

    def __call__(self, *inputs: Tensor) -> Tensor:
        return _logits(self._module, *inputs)

    def is_settled(self, expected: Tensor, *inputs: Tensor) -> bool:
        """Whether norms' weights that differ in their last bits give these logits, too."""
        if self._nearby is None:
            return True
        moved = (_logits(self._nearby, *inputs) - expected).abs().max()
        return bool(moved <= 1e-4 * expected.abs().max())


def with_other_bits(module: nn.Module) -> nn.Module:
    """A copy whose norms' weights differ in their last bits."""
    generator = torch.Generator().manual_seed(0)
    other = copy.deepcopy(module)
    for parameter in other.parameters():
        if parameter.ndim == 1:
            noise = torch.rand(parameter.shape, generator=generator) - 0.5
            parameter.data = parameter.data * (1 + 4e-7 * noise)
    return other


@torch.no_grad()
def _logits(module: nn.Module, tokens: Tensor, position: Tensor | None = None) -> Tensor:
    found: Tensor = module(tokens) if position is None else module(tokens, _at(position))
    return found


@dataclass(frozen=True)
class Exported:
    """A program's file and what it was made of, in eager."""

    pte: Path
    eager: Eager


def official(form: Form, checkpoint: Path, folder: Path) -> Exported:
    """As ``export_llm`` itself writes it."""
    wanted = config(form, checkpoint)
    wanted.export.output_name = str(folder / "model.pte")
    with quiet_upstream():
        builder = export_llama_lib._export_llama(wanted)
    return Exported(folder / "model.pte", Eager(form, builder))


def official_methods(form: Form, checkpoint: Path, folder: Path) -> None:
    """As ``export_llm`` writes a program of several methods."""
    wanted = config(form, checkpoint)
    wanted.export.output_name = str(folder / "model.pte")
    wanted.multimethod.methods = [MethodConfig("prefill"), MethodConfig("decode", None, 1)]
    with quiet_upstream():
        export_llama_lib.export_llama(wanted)


def lowered(form: Form, checkpoint: Path, folder: Path) -> Exported:
    """The same graph through our lowering."""
    program, eager = _graph(form, checkpoint)
    return Exported(_written(_lower({"forward": program}, {}), folder), eager)


def two_methods(how: str, form: Form, checkpoint: Path, folder: Path) -> Exported:
    """Methods ``prefill``, of any length, and ``decode``, of one token, over one cache."""
    builders = {
        name: _built(Form(form.weights, form.attention, length, form.embedding), checkpoint)
        for name, length in (("prefill", "any"), ("decode", "one"))
    }
    graphs = {name: _exported(builder) for name, builder in builders.items()}
    program = (_lower if how == "lowered" else _stock)(graphs, {})
    return Exported(_written(program, folder), Eager(form, builders["prefill"]))


def in_files(how: str, form: Form, checkpoint: Path, folder: Path, most: int) -> Exported:
    """The delegate's constants in ``.ptd`` files of up to `most` bytes, beside the program."""
    program, eager = _graph(form, checkpoint)
    options = {"external_constants_max_data_bytes": most}
    made = (_lower if how == "lowered" else _stock)({"forward": program}, options)
    made.write_tensor_data_to_file(str(folder))
    return Exported(_written(made, folder), eager)


def _built(form: Form, checkpoint: Path) -> LLMEdgeManager:
    """``export_llm``'s builder when nothing but lowering is left to do."""
    wanted = config(form, checkpoint)
    with quiet_upstream():
        _, quantizers, _ = export_llama_lib.get_quantizer_and_quant_params(wanted)
        builder = export_llama_lib._prepare_for_llama_export(wanted).export()
        builder.run_canonical_optimizations()
        return builder.pt2e_quantize(quantizers)


def _exported(builder: LLMEdgeManager) -> torch.export.ExportedProgram:
    with quiet_upstream():
        return builder._export(builder.pre_autograd_graph_module)


def _graph(form: Form, checkpoint: Path) -> tuple[torch.export.ExportedProgram, Any]:
    builder = _built(form, checkpoint)
    return _exported(builder), Eager(form, builder)


def _lower(graphs: dict[str, Any], options: dict[str, Any]) -> Any:
    with quiet_upstream(), torch.no_grad():
        return lower_program(graphs, {"require_dynamic_shapes": True, **options})


def _stock(graphs: dict[str, Any], options: dict[str, Any]) -> Any:
    wanted = {"require_dynamic_shapes": True, **options}
    with quiet_upstream(), torch.no_grad():
        partitioner = {name: [VulkanPartitioner(wanted)] for name in graphs}
        return to_edge_transform_and_lower(graphs, partitioner=partitioner).to_executorch()


def _written(program: Any, folder: Path) -> Path:
    path = folder / "model.pte"
    with path.open("wb") as file:
        program.write_to_file(file)
    return path


def _at(position: Tensor) -> dict[str, Tensor]:
    return {"input_pos": position}


def difference_over(
    calls: Sequence[tuple[Tensor, ...]],
    eager: Settles,
    run: Callable[..., Sequence[Tensor]],
) -> float:
    """The largest difference between logits, as a share of the largest of a call's.

    Of calls that eager itself is settled about: nine of ten must be.
    """
    worst, unsettled = 0.0, 0
    for inputs in calls:
        expected = eager(*inputs)
        settled = eager.is_settled(expected, *inputs)
        (got,) = run(*inputs)
        assert got.isfinite().all()
        apart = (got.reshape(expected.shape) - expected).abs().max() / expected.abs().max()
        worst = max(worst, float(apart)) if settled else worst
        unsettled += not settled
    assert 10 * unsettled <= len(calls)
    return worst
