"""A decoder with its cache: each step's scores are those of the whole text at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from executorch_webgpu.lowering import quiet_upstream
from models_table import Row, measured
from support.comparing import HOW, TOLERANCE, difference, load
from support.networks import WhisperStep, whisper

STEPS = 12


@pytest.mark.parametrize("how", HOW)
def test_whisper(how: str, tmp_path: Path, note: Callable[[Row], None]) -> None:
    torch.manual_seed(0)
    whole = whisper().eval()
    tokens = torch.randint(3, 1000, (1, STEPS))
    with torch.no_grad(), quiet_upstream():
        sound = whole.model.encoder(torch.randn(1, 80, 600))[0]
        states = whole.model.decoder(input_ids=tokens, encoder_hidden_states=sound)[0]
        expected = whole.proj_out(states)
        inputs = (tokens[:, :1], sound, torch.tensor([0]))
        step = WhisperStep(whole, 2 * STEPS).eval()
        exported = torch.export.export(step, inputs, strict=False)
        model = load(HOW[how](exported), tmp_path)
    found = 0.0
    for again in range(2):  # a second text overwrites the first
        for i in range(STEPS):
            inputs = (tokens[:, i : i + 1], sound, torch.tensor([i]))
            got = model.execute("forward", inputs)
            found = max(found, difference(got, [expected[:, i : i + 1]]))
            assert found <= TOLERANCE, (again, i)
    note(measured("Whisper, decoder's step", 1, how, model, inputs, found))
