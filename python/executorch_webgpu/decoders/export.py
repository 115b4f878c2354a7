"""From a model somebody has to a program for this backend, and its tokenizer beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor, nn

from ..errors import WebGPUError
from ..files import write_atomically
from ..heap import trim_heap
from ..tokenizer import ChatTokenizer
from ..workers import single_threaded_workers
from .calibration import CONVERSATIONS
from .quantize import QuantizedWeight
from .sources import BUILT_IN, Source, open_source
from .transformer import Transformer, empty_transformer
from .weights import Bits, Converted, convert, is_finite

# Called with a stage's name, what is done of it and the whole of it (0: not known).
Progress = Callable[[str, int, int], None]

# Calibration runs the float model: so many weights take 8 GB.
_MOST_CALIBRATED = 2_000_000_000


@dataclass(frozen=True)
class Recipe:
    """What to export.

    Attributes:
        context: tokens the key-value cache holds.
        group_size: weights that share one scale, where they are quantized here.
        full_logits: logits of every fed token [1, S, V] instead of the last one's [1, V].
        calibrate: weigh quantization errors by what the layers see in sample conversations; None
            for models that are small enough.
        bits: of weights; 32 for floats. None for those of the file where a program can have them,
            else for the nearest: 4 of floats.
        layers: keep only the first layers, for tests; None keeps all.
    """

    context: int = 2048
    group_size: int = 32
    full_logits: bool = False
    calibrate: bool | None = None
    bits: Bits = None
    layers: int | None = None


@dataclass(frozen=True)
class Kept:
    """What became of a file's tensors of one kind.

    Attributes:
        kind: as GGUF calls it.
        form: what they are in the program.
        count: how many they are.
        error: the largest root mean square change, as a share of the weight's; 0 for none.
    """

    kind: str
    form: str
    count: int
    error: float

    def __str__(self) -> str:
        change = f"changed by up to {self.error:.2%}" if self.error else "exact"
        tensors = "1 tensor" if self.count == 1 else f"{self.count} tensors"
        return f"{tensors} of {self.kind}: {self.form}, {change}"


def export(
    source: str, path: Path, recipe: Recipe | None = None, progress: Progress | None = None
) -> list[str]:
    """Write the program to `path` and the tokenizer files beside it, each only when complete.

    SmolLM2 takes about two minutes and 3 GB of memory on two cores.

    Args:
        source: a GGUF file, a folder, or "smollm2"; see `open_source`.

    Returns:
        Sentences that say what became of the weights, and what is missing.

    Raises:
        WebGPUError: the source cannot be read or exported, or the recipe does not fit the model.
    """
    # Imported here: the export machinery takes seconds to import, and reading weights needs none.
    from .lower import lower

    recipe, report = recipe or Recipe(), progress or _no_progress
    if source == BUILT_IN and recipe.bits is None:
        recipe = replace(recipe, bits=4)  # small and fast: the file's embedding has 8
    if recipe.context < 2:
        raise WebGPUError(f"a context of {recipe.context} tokens is too short: at least 2")
    report("Reading weights", 0, 0)
    opened = open_source(source, recipe.context, recipe.layers)
    _check_tokens(opened)
    _check_folder(opened, path.parent)
    model, kept = build(opened, recipe, report)
    program = lower(model, recipe.context, _constants(opened, recipe), report)
    report("Writing", 0, 0)
    if opened.tokenizer is not None:
        opened.tokenizer.save(path.parent)
    with write_atomically(path) as file:
        program.write_to_file(file)
    missing = [] if opened.tokenizer else [f"no tokenizer was written: {opened.no_tokenizer}"]
    return [*map(str, kept), *missing]


def build(source: Source, recipe: Recipe, report: Progress) -> tuple[Transformer, list[Kept]]:
    """The decoder with its weights in the forms of the program, and what became of them."""
    from .lower import use_quantized_modules

    _check_sizes(source)
    model = empty_transformer(source.config, recipe.context, recipe.full_logits)
    matrices = {name: p for name, p in _parameters(model) if p.ndim == 2}
    _check_groups(matrices, recipe)
    moments = _second_moments(source, matrices, recipe, report)
    quantized, kept = _convert(source, model, matrices, moments, recipe, report)
    for name, parameter in _parameters(model):
        if parameter.ndim == 1:
            parameter.data = source.read(name, tuple(parameter.shape)).floats()
            _check_finite(source, name, is_finite(parameter))
    use_quantized_modules(model, quantized)
    return model, kept


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """All but the output layer's weight where it is the embedding."""
    tied = isinstance(model, Transformer) and model.config.tied
    for name, parameter in model.named_parameters():
        if not (tied and name == "output.weight"):
            yield name, parameter


def _convert(
    source: Source,
    model: Transformer,
    matrices: dict[str, nn.Parameter],
    moments: dict[str, Tensor],
    recipe: Recipe,
    report: Progress,
) -> tuple[dict[str, QuantizedWeight], list[Kept]]:
    total, done = sum(len(p) for p in matrices.values()), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        report("Quantizing", done, total)

    quantized: dict[str, QuantizedWeight] = {}
    kept: dict[tuple[str, str], Kept] = {}

    for name, parameter in matrices.items():
        stored = source.read(name, tuple(parameter.shape))
        module = name.removesuffix(".weight")
        found = convert(stored, recipe.bits, recipe.group_size, moments.get(module), advance)
        trim_heap()
        _check_finite(source, name, found.is_finite)
        _note(kept, stored.kind, found)
        tied = module == "embedding" and source.config.tied
        for user in (module, "output") if tied else (module,):
            if isinstance(found.weight, QuantizedWeight):
                quantized[user] = found.weight
            else:
                weight = nn.Parameter(found.weight, requires_grad=False)
                model.get_submodule(user).register_parameter("weight", weight)
    return quantized, list(kept.values())


def _check_finite(source: Source, name: str, is_finite: bool) -> None:
    """A model that has learnt NaN answers with nothing else."""
    if not is_finite:
        raise WebGPUError(f"{source.file.where}: {name} has numbers that are infinite or NaN")


def _note(kept: dict[tuple[str, str], Kept], kind: str, converted: Converted) -> None:
    key = (kind, converted.form)
    before = kept.get(key, Kept(*key, 0, 0.0))
    kept[key] = Kept(*key, before.count + 1, max(before.error, converted.error))


def _check_sizes(source: Source) -> None:
    """Before memory is asked for, which a damaged configuration may want very much of."""
    with torch.device("meta"):
        skeleton = Transformer(source.config, None, False)
    for name, parameter in _parameters(skeleton):
        source.check(name, tuple(parameter.shape))


def _check_tokens(source: Source) -> None:
    """Before they are written down as constants of the program."""
    ends = [*source.eos, *([] if source.bos is None else [source.bos])]
    for token in ends:
        if type(token) is not int or not 0 <= token < source.config.vocabulary:
            raise WebGPUError(
                f"{source.file.where}: texts begin or end with token {token!r:.20}, but there are "
                f"{source.config.vocabulary} tokens"
            )


def _check_folder(source: Source, folder: Path) -> None:
    """Before minutes have passed: the tokenizer's files would take the place of others."""
    if source.tokenizer is None:
        return
    if folder.resolve() == Path(source.file.where).resolve():
        raise WebGPUError(
            f"the program's tokenizer files would take the place of the model's own in {folder}: "
            "choose another folder (-o)"
        )
    source.tokenizer.check_folder(folder)


def _check_groups(matrices: dict[str, nn.Parameter], recipe: Recipe) -> None:
    for name, parameter in matrices.items():
        width = parameter.shape[1]
        if recipe.bits != 32 and (recipe.group_size < 1 or width % recipe.group_size):
            raise WebGPUError(
                f"a group size of {recipe.group_size} does not divide the {width} columns of {name}"
            )


def _constants(source: Source, recipe: Recipe) -> dict[str, object]:
    bos = {} if source.bos is None else {"get_bos_id": source.bos}
    return {
        "get_max_seq_len": recipe.context,
        "get_max_context_len": recipe.context,
        "get_vocab_size": source.config.vocabulary,
        "get_n_layers": len(source.config.layers),
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
        **bos,
        "get_eos_ids": source.eos,
    }


def _second_moments(
    source: Source, matrices: dict[str, nn.Parameter], recipe: Recipe, report: Progress
) -> dict[str, Tensor]:
    """Summed squares [K] of each linear layer's inputs over the calibration conversations.

    Not of the output layer's: it is also the embedding, in which every column counts alike. None
    where there is nothing to be quantized, or no tokenizer, or where the model is too large.
    """
    weights = sum(p.numel() for p in matrices.values())
    wanted = recipe.calibrate
    if wanted is None:
        wanted = weights <= _MOST_CALIBRATED
    anew = any(source.is_quantized_anew(name, recipe.bits) for name in matrices)
    if not wanted or not anew or recipe.bits in (8, 32) or source.tokenizer is None:
        return {}
    prompts = [_conversation(source.tokenizer, *pair) for pair in CONVERSATIONS]
    # Without a cache the model has no state, so conversations can run side by side.
    model = empty_transformer(source.config, None)
    _fill(model, source)
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
    with torch.no_grad(), single_threaded_workers() as workers:
        for i, _ in enumerate(workers.map(model, inputs)):
            report("Calibrating", i + 1, len(inputs))
    return moments


def _fill(model: Transformer, source: Source) -> None:
    """Give a decoder the float weights of a source."""
    for name, parameter in _parameters(model):
        parameter.data = source.read(name, tuple(parameter.shape)).floats()
    if source.config.tied:
        model.output.weight = model.embedding.weight


def _conversation(tokenizer: ChatTokenizer, question: str, answer: str) -> list[int]:
    """As the model's template has it; plain where it has none, or one that fails."""
    if tokenizer.has_template:
        with suppress(WebGPUError):
            prompt = tokenizer.render([{"role": "user", "content": question}])
            return tokenizer.encode(f"{prompt}{answer}{tokenizer.eos_text}\n")
    return tokenizer.encode(f"{question}\n\n{answer}\n")


def _no_progress(stage: str, done: int, total: int) -> None:
    pass
