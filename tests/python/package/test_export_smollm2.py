"""The export of SmolLM2: the quantizer's properties, the files, and the numbers on the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from executorch_webgpu import load
from executorch_webgpu.decoders.export import Recipe, export
from executorch_webgpu.decoders.quantize import QuantizedWeight, quantize
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.files import cached_smollm2, check_program, write_atomically
from executorch_webgpu.generate import LanguageModel
from executorch_webgpu.tokenizer import ChatTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from support.export import read_delegate
from support.llama import Llama

TOLERANCE = 2e-3


def weighted_error(weight, quantized: QuantizedWeight, importance) -> float:
    return float(((weight - quantized.dequantize()).square() * importance).sum())


def round_to_nearest(weight: torch.Tensor, group_size: int) -> QuantizedWeight:
    """The plain symmetric quantization that the search is to beat."""
    groups = weight.view(len(weight), -1, group_size)
    scales = groups.abs().amax(-1) / 7.5
    values = (groups / scales.unsqueeze(-1)).round().clamp(-8, 7)
    return QuantizedWeight(values.view_as(weight).to(torch.int8), scales)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1 << 16),
    rows=st.integers(1, 9),
    groups=st.integers(1, 4),
    group_size=st.sampled_from([8, 32, 64]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_search_beats_rounding_to_nearest(seed, rows, groups, group_size, scale) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, groups * group_size, generator=generator) * scale
    importance = torch.rand(groups * group_size, generator=generator)
    found = quantize(weight, group_size, importance)
    assert found.values.dtype == torch.int8
    assert found.values.min() >= -8 and found.values.max() <= 7
    assert found.group_size == group_size
    assert found.scales.isfinite().all() and (found.scales != 0).all()
    nearest = round_to_nearest(weight, group_size)
    slack = 1 + 1e-5
    assert weighted_error(weight, found, importance) <= slack * weighted_error(
        weight, nearest, importance
    )


def test_what_fits_the_grid_is_kept_exactly() -> None:
    values = torch.randint(-8, 8, (16, 64), dtype=torch.int8)
    values[:, ::32] = -8  # so that the whole range is used
    for sign in (1, -1):
        weight = QuantizedWeight(values, torch.full((16, 2), 0.25 * sign))
        found = quantize(weight.dequantize(), 32)
        assert torch.allclose(found.dequantize(), weight.dequantize(), atol=1e-6)


def test_zero_weights_stay_zero() -> None:
    found = quantize(torch.zeros(3, 64), 32, torch.zeros(64))
    assert found.dequantize().eq(0).all() and found.scales.isfinite().all()


def test_importance_moves_the_error() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 32)
    importance = torch.ones(32)
    importance[:4] = 100.0
    errors = (weight - quantize(weight, 32, importance).dequantize()).square().mean(0)
    plain = (weight - quantize(weight, 32).dequantize()).square().mean(0)
    assert errors[:4].mean() < 0.5 * plain[:4].mean()


def test_group_size_must_divide_the_columns() -> None:
    with pytest.raises(ValueError, match="does not divide the 48 columns"):
        quantize(torch.zeros(2, 48), 32)


def test_quantizing_leaves_torchs_threads_alone() -> None:
    before = torch.get_num_threads()
    quantize(torch.randn(4, 32), 32)
    assert torch.get_num_threads() == before


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with pytest.raises(RuntimeError), write_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with write_atomically(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(group_size=7), "group size of 7 does not divide"),
        (Recipe(context=1), "context of 1 tokens is too short"),
        (Recipe(layers=0), "0 layers"),
    ],
)
def test_impossible_recipes(tmp_path: Path, recipe: Recipe, message: str) -> None:
    with pytest.raises(WebGPUError, match=message):
        export("smollm2", tmp_path / "model.pte", recipe)
    assert list(tmp_path.iterdir()) == []


def test_program_says_what_a_runner_needs(tiny: Path, tiny_recipe: Recipe) -> None:
    model = load(tiny)
    expected = {
        "get_max_seq_len": tiny_recipe.context,
        "get_max_context_len": tiny_recipe.context,
        "get_vocab_size": 49152,
        "get_n_layers": 2,
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
        "get_bos_id": 1,
        "get_eos_ids": 2,
    }
    assert {name: model.constant(name) for name in expected} == expected
    assert model.signature() == [("int64", (1, tiny_recipe.context - 1)), ("int64", (1,))]


def test_embedding_and_output_share_their_bytes(tiny: Path) -> None:
    # 2 layers are 3.5 million weights each, the embedding 28 million: all at half a byte, and
    # scales of 2 bytes for every 32. Stored twice, the embedding would add 14 MB.
    assert tiny.stat().st_size < 24e6


def compare(program: Path, calls: list[list[int]]) -> None:
    """Feed pieces one after the other, beside plain torch over the program's own weights."""
    model, reference = LanguageModel.load(program), Llama(read_delegate(program.read_bytes()))
    fed: list[int] = []
    for tokens in calls:
        logits = model(tokens, len(fed))
        fed += tokens
        expected = reference.logits(fed, slice(-1, None)).flatten()
        worst = np.abs(logits - expected.numpy()).max()
        assert worst < TOLERANCE, f"{len(tokens)} tokens up to {len(fed)}: off by {worst}"


def test_small_model_matches_the_reference(tiny: Path) -> None:
    text = list(range(100, 300))
    pieces = [text[:128], text[128:168], [text[168]], text[169:200], [text[0]], [text[1]]]
    compare(tiny, pieces)


def test_smollm2_matches_the_reference_and_knows_paris(smollm2: Path) -> None:
    model = LanguageModel.load(smollm2)
    tokenizer = ChatTokenizer.load(smollm2.parent)
    question = tokenizer.render([{"role": "user", "content": "What is the capital of France?"}])
    prompt = tokenizer.encode(question)
    compare(smollm2, [prompt, [504], [3575]])

    answer: list[int] = []
    logits, position = model(prompt, 0), len(prompt)
    while (token := int(logits.argmax())) not in model.eos and len(answer) < 20:
        answer.append(token)
        logits, position = model([token], position), position + 1
    assert "Paris" in tokenizer.decode(answer)


def test_warming_up_leaves_no_trace(tiny: Path) -> None:
    prompt = [504, 1735, 282]
    expected = LanguageModel.load(tiny)(prompt, 0)
    model = LanguageModel.load(tiny)
    model.warm_up()
    assert np.array_equal(model(prompt, 0), expected)


def test_cached_program_is_complete(smollm2: Path) -> None:
    check_program(smollm2)
    assert smollm2 == cached_smollm2()
    assert {"tokenizer.json", "tokenizer_config.json"} <= {p.name for p in smollm2.parent.iterdir()}
