"""What computing with fewer bits costs: perplexity with f32 and with f16.

    python benchmarks/perplexity.py smollm2.pte --tokens 4096                         # in the cache
    python benchmarks/perplexity.py smollm2.pte --option matmul_dtype --rows 17       # in products

Programs give the last token's logits only, so there is a call for each token, in windows that each
start with an empty context. A call with several rows feeds the tokens before its own once more, so
that it is the kernels for many rows that are measured. The text is Python's language reference as
the standard library has it, or a file of yours.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Annotated, Literal

import numpy as np
import typer
from executorch_webgpu.generate import LanguageModel
from executorch_webgpu.native import library
from executorch_webgpu.tokenizer import ChatTokenizer
from numpy.typing import NDArray

Option = Literal["kv_cache_dtype", "matmul_dtype"]

TEXT = "\n".join(topics[name] for name in sorted(topics))


def losses(model: LanguageModel, tokens: Sequence[int], window: int, rows: int) -> list[float]:
    """Negative log-likelihood in nats of each token but the first of each window.

    Each from a call of the `rows` tokens before it, or as many as there are.
    """
    found = []
    for start in range(0, len(tokens), window):
        piece = tokens[start : start + window]
        for end in range(1, len(piece)):
            first = max(end - rows, 0)
            found.append(negative_log_likelihood(model(piece[first:end], first), piece[end]))
    return found


def negative_log_likelihood(logits: NDArray[np.float32], token: int) -> float:
    """Of `token` after what gave `logits` [V], in nats."""
    wide = logits.astype(np.float64)
    largest = wide.max()
    return float(largest + math.log(np.exp(wide - largest).sum()) - wide[token])


def perplexity(found: Sequence[float]) -> float:
    """Of tokens with these negative log-likelihoods."""
    return math.exp(sum(found) / len(found))


def report(
    model: Path, option: Option, window: int, rows: int, by_type: dict[str, list[float]]
) -> dict[str, object]:
    """Perplexity by type, and how much each is above the first, as a share of 1."""
    perplexities = {kind: perplexity(found) for kind, found in by_type.items()}
    first = next(iter(perplexities.values()))
    return {
        "model": model.name,
        "option": option,
        "window": window,
        "rows": rows,
        "predicted_tokens": len(next(iter(by_type.values()))),
        "perplexity": perplexities,
        "relative_difference": {kind: p / first - 1 for kind, p in perplexities.items()},
    }


def main(
    model: Annotated[Path, typer.Argument(help="A language model with its tokenizer beside it.")],
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of the text to use.")] = 4096,
    window: Annotated[int, typer.Option(min=2, help="Tokens of one context.")] = 1024,
    option: Annotated[Option, typer.Option(help="What has the types.")] = "kv_cache_dtype",
    types: Annotated[str, typer.Option(help="Types to compare.")] = "f32,f16",
    rows: Annotated[int, typer.Option(min=1, help="Tokens of a call.")] = 1,
    text: Annotated[Path | None, typer.Option(help="A text file to use instead.")] = None,
) -> None:
    """Print the perplexity of a text with each type, as JSON."""
    words = text.read_text() if text else TEXT
    ids = ChatTokenizer.load(model.parent).encode(words[: 20 * tokens])[:tokens]
    by_type: dict[str, list[float]] = {}
    for kind in types.split(","):
        library().set_option(option, kind)
        start = time.perf_counter()
        by_type[kind] = losses(LanguageModel.load(model), ids, window, rows)
        typer.echo(f"{kind}: {time.perf_counter() - start:.0f} s", err=True)
    print(json.dumps(report(model, option, window, rows, by_type), indent=1))


if __name__ == "__main__":
    typer.run(main)
