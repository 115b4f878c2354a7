"""A decoder's program beside its eager definition."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import torch
from executorch_webgpu.decoders.export import Recipe, build, export
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.generate import LanguageModel

from .decoders import VOCABULARY

_PROMPT, _STEPS = 20, 40


@torch.no_grad()
def compare_with_eager(
    source: Path, recipe: Recipe, tolerance: float, program: Path | None = None
) -> LanguageModel:
    """Check a prompt in two pieces, and steps far past the window, by the logits of each call.

    Args:
        program: the export of this recipe; made here if left out.
    """
    opened = open_source(str(source), recipe.context)
    eager, _ = build(opened, recipe, lambda *_: None)
    if program is None:
        program = Path(tempfile.mkdtemp(), "model.pte")
        export(str(source), program, recipe)
    model = LanguageModel.load(program)
    assert len(model.delegates) == 1 and model.continue_greedily is not None
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(3, VOCABULARY, (_PROMPT + _STEPS,), generator=generator).tolist()
    bounds = [0, 7, *range(_PROMPT, len(tokens) + 1)]
    worst = largest = 0.0
    for begin, end in itertools.pairwise(bounds):
        piece = tokens[begin:end]
        expected = eager(torch.tensor([piece]), torch.tensor([begin]))[0]
        found = torch.from_numpy(model(piece, begin))
        worst = max(worst, (found - expected).abs().max().item())
        largest = max(largest, expected.abs().max().item())
    assert worst <= tolerance, f"off by {worst}"
    assert largest > 0.3
    return model
