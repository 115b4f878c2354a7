"""The example that searches sentences, with a program that counts words in place of a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from support.paths import REPOSITORY
from support.program import save
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ["cats", "sleep", "dogs", "bark", "trains", "leave"]


class Counts(torch.nn.Module):
    """How often each word is in a sentence, as a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("words", torch.eye(len(WORDS)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        counts = torch.nn.functional.embedding(tokens, self.words).sum(1)
        return counts / counts.pow(2).sum(-1, keepdim=True).sqrt()


def test_the_nearest_come_first(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="cats"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    length = {1: torch.export.Dim("length", min=1, max=16)}
    tokens = torch.tensor([[0, 1]])
    program = save(
        tmp_path, "counts", Counts(), (tokens,), dynamic_shapes=(length,), partly=True
    ).pte
    (tmp_path / "lines.txt").write_text("trains leave\ndogs bark\ncats sleep dogs\n")
    files = [program, tmp_path / "tokenizer.json", tmp_path / "lines.txt"]
    command = [sys.executable, REPOSITORY / "examples/search.py", *files, "cats sleep"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[0].split() == ["0.816", "cats", "sleep", "dogs"]
