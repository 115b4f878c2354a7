"""Language models by how ``export_llm`` was told to export them, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executorch_webgpu import Model
from models_table import REPETITIONS, device_name, measured_cells, milliseconds

HEAD = """## Official exports of language models

A Llama of one layer (width 128, a vocabulary of 320, a context of 128; seeded weights) through the
wheel's own `export_llm` with the Vulkan backend, and its graphs through `lower_program`; run by the
stock runtime, a prompt in two pieces and single tokens behind it, and compared with eager at every
call. *Attention*: `custom` is `use_sdpa_with_kv_cache`, `plain` a cache without it, `8 bits`
`quantize_kv_cache`, `none` no cache. *Length*: `any` is `enable_dynamic_shape`. *Weights*: a mode
of `quantization.qmode` in groups of 32, or PT2E's `vulkan_8w`; *embedding*: `embedding_quantize`.
Milliseconds are of a token, or of the whole text without a cache (the median of {repetitions};
{devices}), and show an order of magnitude, as above.
Without figures is what cannot be exported, with the reason. With `8da4w` a call is left out where
eager's own logits move when norms' weights change in their last bits: where x is rounded to 8 bits
that decides which of two steps a value takes (one call in 32 of one form here, 5e-03).
Written by `./dev test-models -k export_llm --table docs/models.md`.

`export_llm` makes one method with the Vulkan backend, and no `.ptd` files: programs with both were
made of its graphs, by the stock partitioner and by `lower_program`.

What of `export_llm` fails, or goes round the delegate, does so for reasons that `lower_program`
works round. Mode `int8` has its weights outside, as inputs that go to the GPU in floats with every
call; lowered, they are constants of 8 bits in the delegate. `vulkan_8w` fails where upstream's
pass fuses a norm: it asks the epsilon for its number, and PT2E has made a buffer of that. Lowered,
it is a number again. A plain cache of any length fails where upstream's passes go through a
delegate again: each read of the position is then another number, and what the program asserts of
it may be outside. Lowered, the number stays the one that it is, and the cache is in the delegate
as with `custom`. So is an embedding of 8 bits (`8,0`), as the bytes that it has. An 8-bit cache
stays outside, lowered, too: it is quantized by numbers in float64, which delegates do not have,
and attention over it is ExecuTorch's own kernel.

| weights | embedding | attention | length | by | calls | difference | ms | outside of delegates |
| --- | --- | --- | --- | --- | --- | ---: | ---: | --- |
"""


@dataclass(frozen=True)
class LanguageRow:
    """A form of the model, exported in one way.

    Attributes:
        outside: operators left to ExecuTorch's kernels, or why there is no program.
    """

    weights: str
    embedding: str
    attention: str
    length: str
    how: str
    outside: str
    delegates: int = 0
    host_calls: int = 0
    difference: float = 0
    milliseconds: float = 0
    device: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return self.weights, self.embedding, self.attention, self.length, self.how

    def line(self) -> str:
        """The row of the table."""
        counts = self.delegates, self.host_calls
        figures = "– | – | –"
        if self.device:
            figures = measured_cells(*counts, self.difference, self.milliseconds)
        return f"| {' | '.join(self.key)} | {figures} | {self.outside} |"


def text(rows: Sequence[LanguageRow]) -> str:
    """All of it; nothing without rows."""
    devices = " and ".join(dict.fromkeys(row.device for row in rows if row.device))
    head = HEAD.format(repetitions=REPETITIONS, devices=devices)
    lines = [row.line() for row in sorted(rows, key=lambda row: row.key)]
    return head + "\n".join(lines) + "\n" if rows else ""


def measured(
    form: Any, how: str, model: Model, difference: float, step: Callable[[], object]
) -> LanguageRow:
    """A row of a program that was run.

    Args:
        step: a call with one token more, or with a whole text.
    """
    methods = [m for m in model.outline["methods"] if m["inputs"]]
    return LanguageRow(
        form.weights,
        form.embedding,
        form.attention,
        form.length,
        how,
        ", ".join(names_outside(methods)) or "nothing",
        sum(method["delegate_calls"] for method in methods),
        sum(method["kernel_calls"] for method in methods),
        difference,
        milliseconds(step),
        device_name(),
    )


def refused(form: Any, how: str, error: BaseException) -> LanguageRow:
    """A row of what could not be exported."""
    why = why_refused(error)
    return LanguageRow(form.weights, form.embedding, form.attention, form.length, how, why)


def why_refused(error: BaseException) -> str:
    """An error as in a table."""
    (line, *_) = str(error).splitlines()
    return f"{type(error).__name__}: {line}".replace("|", "\\|")


def names_outside(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Operators that methods leave to ExecuTorch's kernels."""
    names = {kernel["name"] for method in methods for kernel in method["host_kernels"]}
    return sorted(f"`{name}`" for name in names)
