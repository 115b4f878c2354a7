"""Models by how optimum-executorch was told to export them, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from program_rows import ProgramRow, table

HEAD = """## Models of optimum-executorch

PyPI's optimum-executorch 1.1.0 pins transformers 5.0.0rc1, so it is installed apart, in front of
the torch and executorch that the tests have. Its loaders read small models (two layers; seeded
weights) from folders, quantize them (`qlinear` in groups of 32) and make the graphs that its
recipes lower; none of those has this partitioner. Here they go through the stock partitioner with
what the recipes say beside it, and through `lower_program` with `consecutive=["cache_position"]`
and the constants of the module's `metadata`:
[decoders.md](decoders.md#models-of-optimum-executorch) has it in ten lines. Run by the stock
runtime, compared with the graph in eager: a prompt in two pieces and single tokens behind it; a
text with and without padding; an image. Of forms that round activations to 8 bits calls are left
out as above. Milliseconds are of a token, a text or an image (the median of {repetitions};
{devices}). Written by `./dev test-optimum --table docs/models.md`.

What fails with the stock partitioner are two of its faults: its passes ask a mask that is no
attention's any more for its position, and an input that nothing reads is left out of a delegate.
Without `consecutive` a static cache of transformers' stays outside of the delegates, for nothing in
the graph says that the positions follow one another. Caches of windows (Gemma 2 and 3 with
optimum's own) are rings whose places ExecuTorch's kernels compute and write.

What optimum-executorch 1.1.0 itself cannot do with this torch and these models: T5
(`text2text-generation`; its cache of the encoder's keys has one length, and its encoder any), Gemma
2 and 3 past their window without its own cache and attention (eager refuses the position, too).
`qlinear` `8da8w` is one delegate, too, and not in the table: by hand its logits were up to 1e-02
from eager's, and whether all of that is the rounding of activations is not known. Rows by the stock
partitioner are those that were run; it takes longer.
A speech model's parts (Whisper's) were run by hand, not in the table: encoder and sampler are one
delegate each, and the decoder two, with ExecuTorch's kernels for the cache of the encoder's keys.

| model | options | by | calls | difference | ms | outside of delegates |
| --- | --- | --- | --- | ---: | ---: | --- |
"""


@dataclass(frozen=True, kw_only=True)
class OptimumRow(ProgramRow):
    """A model, exported in one way."""

    model: str
    options: str
    how: str

    @property
    def key(self) -> tuple[str, ...]:
        return self.model, self.options, self.how


text = partial(table, HEAD)
