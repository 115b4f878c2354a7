"""Language models by how ``export_llm`` was told to export them, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from program_rows import ProgramRow, table

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


@dataclass(frozen=True, kw_only=True)
class LanguageRow(ProgramRow):
    """A form of the model, exported in one way."""

    weights: str
    embedding: str
    attention: str
    length: str
    how: str

    @property
    def key(self) -> tuple[str, ...]:
        return self.weights, self.embedding, self.attention, self.length, self.how


def row(form: Any, how: str, fields: Mapping[str, Any]) -> LanguageRow:
    """Of a form of support/export_llm.py; `fields` as program_rows.py has them."""
    names = {name: getattr(form, name) for name in ("weights", "embedding", "attention", "length")}
    return LanguageRow(how=how, **names, **fields)


text = partial(table, HEAD)
