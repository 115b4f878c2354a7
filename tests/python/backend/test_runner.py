"""The wheel's own LLM runner, which knows nothing of this backend, over a small real model."""

from __future__ import annotations

from pathlib import Path

import executorch_webgpu
import pytest
import torch
from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner
from executorch_webgpu.decoders.export import Recipe
from executorch_webgpu.tokenizer import ChatTokenizer

PROMPT = "The capital of France is the city of"
LENGTH = 24


@pytest.fixture(scope="module")
def expected(tiny: Path) -> list[int]:
    """Greedy tokens after the prompt, stepped by hand."""
    tokenizer = ChatTokenizer.load(tiny.parent)
    model = executorch_webgpu.load(tiny)
    tokens, position, out = tokenizer.encode(PROMPT), 0, []
    for _ in range(LENGTH):
        (logits,) = model.forward(torch.tensor([tokens]), torch.tensor([position]))
        position += len(tokens)
        tokens = [int(logits.argmax())]
        out += tokens
    return out


def generate(runner: TextLLMRunner, prompt: str) -> tuple[bytes, list[object]]:
    """What the runner streams, and its statistics."""
    pieces: list[str] = []
    stats: list[object] = []
    config = GenerationConfig(echo=False, temperature=0.0, max_new_tokens=LENGTH)
    runner.generate(prompt, config, pieces.append, stats.append)
    return "".join(pieces).encode(), stats


def test_runner_decodes_as_we_do(tiny: Path, expected: list[int]):
    runner = TextLLMRunner(str(tiny), str(tiny.parent / "tokenizer.json"))
    text, stats = generate(runner, PROMPT)
    tokenizer = ChatTokenizer.load(tiny.parent)
    assert text.decode() == tokenizer.decode(expected)
    assert stats[0].num_prompt_tokens == len(tokenizer.encode(PROMPT))
    assert stats[0].num_generated_tokens == LENGTH - 1  # the first counts as prefill's


def test_runner_starts_over(tiny: Path):
    runner = TextLLMRunner(str(tiny), str(tiny.parent / "tokenizer.json"))
    first, _ = generate(runner, PROMPT)
    runner.reset()
    other, _ = generate(runner, "One two three four")
    runner.reset()
    again, _ = generate(runner, PROMPT)
    assert first == again != other


def test_runner_refuses_a_prompt_past_the_context(tiny: Path, tiny_recipe: Recipe):
    runner = TextLLMRunner(str(tiny), str(tiny.parent / "tokenizer.json"))
    first, _ = generate(runner, PROMPT)
    runner.reset()
    with pytest.raises(RuntimeError):
        generate(runner, "word " * (tiny_recipe.context + 10))
    runner.reset()
    assert generate(runner, PROMPT)[0] == first
