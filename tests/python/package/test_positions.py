"""Decoders that take a position for each token, as optimum-executorch's do."""

from __future__ import annotations

from pathlib import Path

import torch
from executorch_webgpu.lowering import lower_program, quiet_upstream
from executorch_webgpu.parts import load_decoder
from support.lowered import graph_of
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT, VOCABULARY, WIDTH, END = 32, 40, 16, 5


class Decoder(nn.Module):
    """One attention of two heads over transformers' static cache."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.words, self.places = (
            nn.Parameter(torch.randn(count, WIDTH, generator=generator))
            for count in (VOCABULARY, CONTEXT)
        )
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, 2, CONTEXT, WIDTH // 2))

    def forward(self, input_ids: Tensor, cache_position: Tensor) -> Tensor:
        x = self.embedded(input_ids, cache_position)
        q, k, v = (
            (x * scale).view(1, -1, 2, WIDTH // 2).transpose(1, 2) for scale in (1.0, 0.7, 1.3)
        )
        self.keys.index_copy_(2, cache_position, k)
        self.values.index_copy_(2, cache_position, v)
        seen = torch.arange(CONTEXT) <= cache_position[:, None]
        y = F.scaled_dot_product_attention(q, self.keys, self.values, seen)
        return y.transpose(1, 2).flatten(2) @ self.words.T

    def embedded(self, tokens: Tensor, places: Tensor) -> Tensor:
        return F.embedding(tokens, self.words) + F.embedding(places, self.places)


class PlacesFirst(Decoder):
    def embedded(self, tokens: Tensor, places: Tensor) -> Tensor:
        return F.embedding(places, self.places) + F.embedding(tokens, self.words)


def write_program(path: Path, decoder: Decoder, most: int = CONTEXT - 1) -> Path:
    given = torch.zeros(1, min(most, 3)).long(), torch.arange(min(most, 3))
    rows = torch.export.Dim("rows", min=1, max=most) if most > 1 else None
    constants = {"get_max_seq_len": CONTEXT, "get_eos_id": END, "get_vocab_size": VOCABULARY}
    with quiet_upstream(), torch.no_grad():
        graph = graph_of(decoder, given, ({1: rows}, {0: rows}) if rows else None)
        made = lower_program(graph, {}, constants, consecutive=["cache_position"])
    path.write_bytes(made.buffer)
    return path


@torch.no_grad()
def test_same_tokens_as_eager(tmp_path: Path) -> None:
    """Step by step: this one's delegate takes positions first, which do not stay on the GPU."""
    eager, model = Decoder(), load_decoder(write_program(tmp_path / "model.pte", Decoder()))
    assert (model.context, model.eos, model.vocabulary) == (CONTEXT, {END}, VOCABULARY)
    prompt = [7, 3, 9, 1, 12]
    for start, tokens in ((0, prompt[:3]), (3, prompt[3:])):
        positions = torch.arange(start, start + len(tokens))
        expected = eager(torch.tensor([tokens]), positions)[0, -1]
        got = torch.from_numpy(model(tokens, start))
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    wanted, token = [], 11
    for at in range(5, 25):
        token = int(eager(torch.tensor([[token]]), torch.tensor([at])).argmax())
        wanted.append(token)
    assert model.continue_greedily is None
    fed = [11, *wanted[:-1]]
    assert [int(model([t], 5 + i).argmax()) for i, t in enumerate(fed)] == wanted
    assert len(set(wanted)) > 1


@torch.no_grad()
def test_one_position_that_the_delegate_takes_first(tmp_path: Path) -> None:
    eager = PlacesFirst()
    model = load_decoder(write_program(tmp_path / "model.pte", PlacesFirst(), most=1))
    assert model.continue_greedily is None
    model.warm_up()
    expected = eager(torch.tensor([[7]]), torch.tensor([0]))[0, -1]
    torch.testing.assert_close(torch.from_numpy(model([7], 0)), expected, rtol=1e-5, atol=1e-5)
