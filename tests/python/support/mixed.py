"""A small language model of which ExecuTorch's own kernels run a part: an 8-bit embedding with
zero points, which no delegate takes, and sums that make it three delegates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import executorch.kernels.quantized  # noqa: F401  out variants, which lowering looks for
import torch
from torch import nn

from .program import Saved, save

CONTEXT = 64
DELEGATES = 3


class EightBitEmbedding(nn.Module):
    """forward(tokens [1, S] int64, position [1] int64) -> logits [1, V] of the last token."""

    def __init__(self, vocabulary: int, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        weight = torch.randint(-128, 128, (vocabulary, width), dtype=torch.int8)
        self.register_buffer("weight", weight)
        self.register_buffer("scales", torch.rand(vocabulary, 1) / 64)
        self.register_buffer("zeros", torch.randint(-3, 4, (vocabulary, 1)).float())
        self.mix = nn.Linear(width, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, tokens, position):
        x = torch.ops.quantized_decomposed.embedding_byte.dtype(
            self.weight, self.scales, self.zeros, -128, 127, tokens, dtype=torch.float32
        )
        # The first delegate takes the tokens too, beside what was made of them.
        x = self.mix(x) * (tokens > 3).unsqueeze(-1).float()
        x = torch.cumsum(x, 1) + self.positions(position)
        return self.out(torch.cumsum(x, 1))[:, -1]


def save_decoder(
    folder: Path, name: str, model: EightBitEmbedding, options: Mapping[str, Any] | None = None
) -> Saved:
    """The model as a program, with its context among the constant methods.

    Args:
        options: the partitioner's compile options.
    """
    length = torch.export.Dim("length", max=CONTEXT - 1)
    return save(
        folder,
        name,
        model,
        (torch.tensor([[1, 2, 3]]), torch.tensor([0])),
        dynamic_shapes={"tokens": {1: length}, "position": None},
        options=options,
        constants={"get_max_seq_len": CONTEXT},
        partly=True,
    )
