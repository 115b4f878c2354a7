"""Every architecture against transformers' own class, from a folder and from a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch_webgpu.decoders.export import Recipe, build
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.decoders.transformer import Transformer
from support.decoders import NOT_IN_GGUF, TINY, VOCABULARY, tiny, write_gguf
from torch import Tensor

TOLERANCE = 1e-4
CONTEXT = 128
PROMPT, STEPS = 24, 64  # past the window from the beginning, and by four times that at the end


def decoder(source: Path) -> Transformer:
    """The definition with a source's float weights, and logits of every token."""
    recipe = Recipe(CONTEXT, bits=32, full_logits=True)
    model, _ = build(open_source(str(source), CONTEXT), recipe, lambda *_: None)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_folder_gives_what_transformers_gives(name: str, tmp_path: Path) -> None:
    reference = tiny(name)
    reference.save_pretrained(tmp_path)
    model = decoder(tmp_path)
    tokens = random_tokens(PROMPT)
    # A prompt in two pieces, then what is the likeliest, one by one.
    found = [feed(model, tokens[:, :7], 0), feed(model, tokens[:, 7:], 7)]
    for _ in range(STEPS):
        tokens = torch.cat([tokens, found[-1][:, -1:].argmax(-1)], dim=1)
        found.append(feed(model, tokens[:, -1:], tokens.shape[1] - 1))
    expected = reference(tokens, use_cache=False).logits
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=TOLERANCE, rtol=0)
    # Transformers would have taken the same tokens.
    assert torch.equal(expected[:, PROMPT - 1 : -1].argmax(-1), tokens[:, PROMPT:])
    assert expected.abs().max() > 0.5


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in TINY if name not in NOT_IN_GGUF])
def test_gguf_gives_what_transformers_gives(name: str, tmp_path: Path) -> None:
    reference = tiny(name)
    write_gguf(tmp_path / "model.gguf", reference)
    model = decoder(tmp_path / "model.gguf")
    tokens = random_tokens(PROMPT + STEPS)
    found = [feed(model, tokens[:, :-1], 0), feed(model, tokens[:, -1:], PROMPT + STEPS - 1)]
    expected = reference(tokens, use_cache=False).logits
    torch.testing.assert_close(torch.cat(found, dim=1), expected, atol=TOLERANCE, rtol=0)


def random_tokens(count: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (1, count), generator=torch.Generator().manual_seed(1))


def feed(model: Transformer, tokens: Tensor, position: int) -> Tensor:
    logits: Tensor = model(tokens, torch.tensor([position]))
    return logits
