"""Decoders of every architecture, through the exporter and the runtime, in floats, 8 and 4 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from executorch_webgpu.decoders.export import Recipe
from executorch_webgpu.decoders.weights import Bits
from support.decoder_programs import compare_with_eager
from support.decoders import TINY, tiny

# Of logits that are about one.
TOLERANCE = 1e-4


@pytest.mark.parametrize("bits", [4, 8, 32])
@pytest.mark.parametrize("name", TINY)
def test_program_gives_what_the_definition_gives(name: str, bits: Bits, tmp_path: Path) -> None:
    tiny(name).save_pretrained(tmp_path)
    compare_with_eager(tmp_path, Recipe(64, bits=bits), TOLERANCE)
