"""A GGUF file in llama.cpp's CPU build and here: greedy tokens, and perplexity.

    pip install --no-deps cyllama==0.2.18
    python benchmarks/against_llama_cpp.py tokens model-q4_0.gguf
    python benchmarks/against_llama_cpp.py perplexity --tokens 2048

llama.cpp multiplies 4-bit weights by activations that it rounds to 8 bits. So it also runs the same
numbers written as F32, where both sides have float32 activations: there, tokens are to be the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import executorch_webgpu
import torch
import typer
from executorch_webgpu.decoders.export import Recipe, build, export
from executorch_webgpu.decoders.sources import BUILT_IN, Source, open_source, smollm2_file
from executorch_webgpu.decoders.transformer import Transformer
from llama_cpp import LlamaCpp, Logits, quantize, write_floats
from perplexity import TEXT, negative_log_likelihood, perplexity

CONTEXT = 512
QUESTIONS = [
    "What is the capital of France?",
    "Write a Python function that sorts a list.",
    "Tell me about the sea.",
    "Who was Ada Lovelace?",
]
_PIECE = 128  # of a window, for a call of ours gives as many rows of logits

app = typer.Typer(add_completion=False)


# --- Greedy tokens ---


def theirs(file: Path, prompts: list[list[int]], count: int) -> list[list[int]]:
    """llama.cpp's tokens after each of the prompts."""
    model = LlamaCpp(file, CONTEXT)
    answers = []
    for prompt in prompts:
        model.forget()
        (*_, logits) = model(prompt)
        tokens = [int(logits.argmax())]
        while len(tokens) < count:
            (logits,) = model(tokens[-1:])
            tokens.append(int(logits.argmax()))
        answers.append(tokens)
    return answers


@torch.no_grad()
def ours(model: Transformer, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
    """The likeliest tokens, and by how much each of them was."""
    logits, position = model(torch.tensor([prompt]), torch.tensor([0])), len(prompt)
    tokens: list[int] = []
    margins: list[float] = []
    while len(tokens) < count:
        best = logits[0].topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        logits = model(torch.tensor([tokens[-1:]]), torch.tensor([position]))
        position += 1
    return tokens, margins


def prompts_of(source: Source) -> list[list[int]]:
    tokenizer = source.tokenizer
    if tokenizer is None:
        raise SystemExit(source.no_tokenizer)
    return [
        tokenizer.encode(tokenizer.render([{"role": "user", "content": question}]))
        for question in QUESTIONS
    ]


@app.command("tokens")
def compare_tokens(
    file: Annotated[Path, typer.Argument(help="A GGUF file.")],
    count: Annotated[int, typer.Option(help="Tokens of each answer.")] = 64,
) -> None:
    """Print for how many tokens both agree, and by how much ours was the likeliest after those."""
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder, "floats.gguf")
        write_floats(file, floats)
        source = open_source(str(floats), CONTEXT)
        prompts = prompts_of(source)
        model, _ = build(source, Recipe(CONTEXT, bits=32), lambda *_: None)
        answers = {
            "as it is": theirs(file, prompts, count),
            "as F32": theirs(floats, prompts, count),
        }
        for i, prompt in enumerate(prompts):
            tokens, margins = ours(model, prompt, count)
            for how, answer in answers.items():
                pairs = enumerate(zip(tokens, answer[i], strict=True))
                same = next((at for at, (a, b) in pairs if a != b), count)
                margin = f", then by {margins[same]:.3f}" if same < count else ""
                print(f"{QUESTIONS[i]:45} {how:9} {same} of {count}{margin}", flush=True)


# --- Perplexity ---

# The logits after each token of a window, whose context is empty at first.
_Window = Callable[[Sequence[int]], Iterator[Logits]]


def losses(logits_of: _Window, windows: Sequence[Sequence[int]]) -> list[float]:
    """Negative log-likelihood in nats of each token but the first of each window."""
    return [
        negative_log_likelihood(logits, token)
        for window in windows
        for logits, token in zip(logits_of(window[:-1]), window[1:], strict=True)
    ]


def in_llama_cpp(file: Path, window: int) -> _Window:
    model = LlamaCpp(file, window)

    def logits_of(tokens: Sequence[int]) -> Iterator[Logits]:
        model.forget()
        return model(tokens)

    return logits_of


def in_this_runtime(source: Path, recipe: Recipe) -> _Window:
    """Of a program that is made for it, with the logits of all rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pte")
        for sentence in export(str(source), path, recipe):
            print(f"  {sentence}", file=sys.stderr)
        model = executorch_webgpu.load(path)
        model.load_method("forward")

    def logits_of(tokens: Sequence[int]) -> Iterator[Logits]:
        for start in range(0, len(tokens), _PIECE):
            piece = torch.tensor([tokens[start : start + _PIECE]])
            (logits,) = model.forward(piece, torch.tensor([start]))
            yield from logits[0].numpy()

    return logits_of


@dataclass(frozen=True)
class Row:
    """Of the table: whose kernels, what weights, and how these are run."""

    where: str
    weights: str
    run: Callable[[], _Window]


def rows(floats: Path, folder: Path, window: int) -> Iterator[Row]:
    """Each file of weights is made before it is run."""
    recipe = partial(Recipe, context=window, full_logits=True)
    yield Row("llama.cpp", "floats", partial(in_llama_cpp, floats, window))
    for kind, pure in {"Q4_0": False, "Q4_0, the embedding too": True}.items():
        name = "pure" if pure else "usual"
        file, same = folder / f"{name}.gguf", folder / f"{name}-f32.gguf"
        quantize(floats, file, pure)
        write_floats(file, same)
        yield Row("llama.cpp", kind, partial(in_llama_cpp, file, window))
        yield Row("llama.cpp", f"{kind}, written as F32", partial(in_llama_cpp, same, window))
        yield Row("here", f"{kind}, converted", partial(in_this_runtime, file, recipe()))
    own, whole = "own 4 bits", "own 4 bits, embedding as in the file"
    yield Row("here", own, partial(in_this_runtime, smollm2_file(), recipe(bits=4)))
    yield Row("here", whole, partial(in_this_runtime, smollm2_file(), recipe()))


@app.command("perplexity")
def compare_perplexity(
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of the text to use.")] = 4096,
    window: Annotated[int, typer.Option(min=2, help="Tokens of one context.")] = 512,
    text: Annotated[Path | None, typer.Option(help="A text file to use instead.")] = None,
) -> None:
    """Print the perplexity of SmolLM2 as floats, as llama.cpp's Q4_0, and as this package's."""
    tokenizer = open_source(BUILT_IN, window).tokenizer
    assert tokenizer is not None
    ids = tokenizer.encode((text.read_text() if text else TEXT)[: 20 * tokens])[:tokens]
    windows = [ids[start : start + window] for start in range(0, len(ids), window)]
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder, "floats.gguf")
        write_floats(smollm2_file(), floats)
        for row in rows(floats, Path(folder), window):
            start = time.perf_counter()
            found = perplexity(losses(row.run(), windows))
            seconds = time.perf_counter() - start
            print(f"{row.where:9} {row.weights:40} {found:10.5f} {seconds:6.0f} s", flush=True)


if __name__ == "__main__":
    app()
