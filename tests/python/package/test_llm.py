"""SmolLM2 against plain torch with the same quantized weights: logits and greedy tokens.

The program runs greedily; one pass of the reference over everything it was fed then gives the
logits of every step. Equal argmax at each step means equal greedy sequences.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from executorch_webgpu.decoders.calibration import CONVERSATIONS
from executorch_webgpu.decoders.export import export
from executorch_webgpu.files import cached_smollm2
from support.capi import Model, ModelError
from support.delegate import exported
from support.export import ExportedDelegate, read_delegate
from support.llama import Llama
from tokenizers import Tokenizer

TOLERANCE = 2e-3

# A share below 1 is for slow adapters: fewer lengths, fewer steps.
FULL = float(os.environ.get("ETWEBGPU_TEST_SCALE", "1")) >= 1
LENGTHS = (1, 2, 3, 16, 17, 63, 128, 511, 1000) if FULL else (1, 17, 63)
STEPS = 64 if FULL else 6


@pytest.fixture(scope="module")
def program() -> Path:
    """SmolLM2's program: $ETWEBGPU_SMOLLM2, or made once and kept in the cache folder."""
    path = Path(os.environ.get("ETWEBGPU_SMOLLM2") or cached_smollm2())
    if not path.is_file():
        export("smollm2", path)
    return path


@pytest.fixture(scope="module")
def delegate(program: Path) -> ExportedDelegate:
    return read_delegate(program.read_bytes())


@pytest.fixture(scope="module")
def reference(delegate: ExportedDelegate) -> Llama:
    return Llama(delegate)


@pytest.fixture(scope="module")
def text(program: Path) -> list[int]:
    """Tokens of a long text."""
    tokenizer = Tokenizer.from_file(str(program.parent / "tokenizer.json"))
    sentences = " ".join(f"{question} {answer}" for question, answer in CONVERSATIONS)
    tokens: list[int] = tokenizer.encode(sentences).ids
    while len(tokens) < 1200:
        tokens = tokens + tokens
    return tokens


@pytest.fixture(scope="module")
def model(delegate: ExportedDelegate) -> Iterator[Model]:
    with exported(delegate.blob, delegate.named, delegate.graph).load() as loaded:
        yield loaded


class Session:
    """One conversation with a model: what was fed, and the logits that each call gave."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.tokens: list[int] = []
        self.rows: list[int] = []
        self.logits: list[torch.Tensor] = []

    def feed(self, tokens: list[int]) -> int:
        """The token the model holds most likely next."""
        position = torch.tensor([len(self.tokens)])
        (logits,) = self.model.run(torch.tensor([tokens]), position)
        self.tokens += tokens
        self.rows.append(len(self.tokens) - 1)
        self.logits.append(logits[0].clone())
        return int(logits[0].argmax())

    def decode(self, token: int, steps: int) -> int:
        for _ in range(steps):
            token = self.feed([token])
        return token

    def check(self, reference: Llama) -> None:
        first = self.rows[0]
        expected = reference.logits(self.tokens, slice(first, None))
        for row, got in zip(self.rows, self.logits, strict=True):
            want = expected[row - first]
            worst = (got - want).abs().max().item()
            assert worst <= TOLERANCE, f"logits after token {row} are off by {worst:.3g}"
            best = want.topk(2)
            gap = (best.values[0] - best.values[1]).item()
            assert got.argmax() == best.indices[0], (
                f"token after {row}; the best leads by {gap:.3g}"
            )


@pytest.mark.parametrize("length", LENGTHS)
def test_prefill_then_decode(model: Model, reference: Llama, text: list[int], length: int) -> None:
    """Every length starts again at position 0 of the one loaded program."""
    session = Session(model)
    session.decode(session.feed(text[:length]), STEPS)
    session.check(reference)


def test_prompts_at_later_positions(model: Model, reference: Llama, text: list[int]) -> None:
    """Prompts of changing lengths with and without single steps between them."""
    session = Session(model)
    session.feed(text[:40])
    session.feed(text[100:228] if FULL else text[100:120])
    session.decode(session.feed(text[300:301]), 3)
    session.decode(session.feed(text[400:484] if FULL else text[400:410]), 5)
    session.check(reference)


def test_two_programs_take_turns(
    model: Model, delegate: ExportedDelegate, reference: Llama, text: list[int]
) -> None:
    with exported(delegate.blob, delegate.named, delegate.graph).load() as other:
        sessions = [Session(model), Session(other)]
        tokens = [s.feed(text[i * 50 :][: 20 + 9 * i]) for i, s in enumerate(sessions)]
        for step in range(4):
            for i, session in enumerate(sessions):
                tokens[i] = session.decode(tokens[i], 1 + (step + i) % 2)
    for session in sessions:
        session.check(reference)


def test_the_end_of_the_context(model: Model, reference: Llama, text: list[int]) -> None:
    """One token past the cache is refused, and the conversation before it goes on."""
    session = Session(model)
    token = session.feed(text[:5])
    with pytest.raises(ModelError):
        model.run(torch.tensor([[token]]), torch.tensor([reference.context]))
    with pytest.raises(ModelError):
        model.run(torch.tensor([text[:20]]), torch.tensor([reference.context - 10]))
    session.decode(token, 2)
    session.check(reference)
