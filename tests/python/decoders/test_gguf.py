"""GGUF files: what is kept bit for bit, and what damaged and hostile ones end in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from executorch_webgpu import heap
from executorch_webgpu.decoders.export import Recipe, build
from executorch_webgpu.decoders.gguf_file import GgufFile
from executorch_webgpu.decoders.lower import _QuantizedLinear
from executorch_webgpu.decoders.parameters import pair_order
from executorch_webgpu.decoders.quantize import QuantizedWeight, halves, with_half_scales
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.decoders.weights import Stored, convert, is_exact
from executorch_webgpu.errors import WebGPUError
from gguf import GGMLQuantizationType as Type
from support.decoders import tiny, write_gguf

CONTEXT = 32


def built(path: Path, **recipe: Any) -> tuple[Any, list[str]]:
    model, kept = build(open_source(str(path), CONTEXT), Recipe(CONTEXT, **recipe), lambda *_: None)
    return model, list(map(str, kept))


def random_blocks(kind: Type, rows: int, blocks: int, seed: int = 0) -> Stored:
    """Random bytes, with scales that are numbers."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = np.random.default_rng(seed).integers(0, 256, (rows * blocks, size), np.uint8)
    at = size - 2 if kind == Type.Q6_K else 0
    data[:, at : at + 2] = np.array([0.01], np.float16).view(np.uint8)
    return Stored(kind.name, torch.from_numpy(data.reshape(rows, -1)))


# --- Kept as they are ---


def test_q4_0_blocks_are_groups_bit_for_bit() -> None:
    stored = random_blocks(Type.Q4_0, 6, 3)
    weight = convert(stored, None, 16, None, lambda _: None).weight
    assert isinstance(weight, QuantizedWeight) and weight.bits == 4 and weight.group_size == 32
    blocks = stored.data.numpy().reshape(-1, 18)
    for block, values, scale in zip(
        blocks, weight.values.view(-1, 32), weight.scales.flatten(), strict=True
    ):
        # The first half of a block's elements are low nibbles, the second the high ones.
        assert scale.item() == np.frombuffer(block[:2].tobytes(), np.float16)[0]
        nibbles = [*(int(b) & 15 for b in block[2:]), *(int(b) >> 4 for b in block[2:])]
        assert values.tolist() == [nibble - 8 for nibble in nibbles]


@pytest.mark.parametrize("kind", [Type.Q4_0, Type.Q5_0, Type.Q8_0, Type.Q6_K])
def test_kept_weights_are_what_ggufs_own_package_reads(kind: Type) -> None:
    stored = random_blocks(kind, 4, 2)
    found = convert(stored, None, 32, None, lambda _: None)
    assert found.error == 0 and isinstance(found.weight, QuantizedWeight)
    assert is_exact(kind.name, None) and not is_exact(kind.name, 32)
    torch.testing.assert_close(found.weight.dequantize(), stored.floats(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [Type.Q4_1, Type.Q5_1, Type.Q4_K, Type.Q5_K])
def test_other_weights_become_the_nearest(kind: Type) -> None:
    weight = torch.randn(8, 512, generator=torch.Generator().manual_seed(0))
    if kind in (Type.Q4_1, Type.Q5_1):
        stored = Stored(kind.name, torch.from_numpy(gguf.quants.quantize(weight.numpy(), kind)))
    else:
        stored = random_blocks(kind, 8, 2)
    found = convert(stored, None, 32, None, lambda _: None)
    assert isinstance(found.weight, QuantizedWeight)
    bits, most = (8, 0.01) if "Q5" in kind.name else (4, 0.15)
    assert found.weight.bits == bits and 0 < found.error < most
    change = (found.weight.dequantize() - stored.floats()).norm() / stored.floats().norm()
    assert found.error == pytest.approx(change.item(), rel=1e-3)


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e4, 1e6])
def test_scales_are_halves_where_halves_have_them(size: float) -> None:
    """Below f16's normal numbers a GPU may take zero for them, above there is nothing."""
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) * size
    found = convert(Stored("F32", weight), 4, 32, None, lambda _: None)
    assert isinstance(found.weight, QuantizedWeight) and found.error < 0.12
    has_halves = found.weight.scales.dtype == torch.float16
    assert has_halves == (size in (1e-3, 1.0, 1e4))
    # What a file has exactly is kept exactly.
    scales = torch.tensor([[size], [0.0]])
    exact = QuantizedWeight(torch.ones(2, 32, dtype=torch.int8), scales, 4)
    assert with_half_scales(exact).scales.dtype == (
        torch.float16 if size in (1.0, 1e4) else torch.float32
    )
    assert with_half_scales(exact).dequantize().equal(exact.dequantize())


def test_halves_of_bytes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.arange(-128, 128, dtype=torch.int16).to(torch.int8)
    for part in (values[:248], -values[9:], values[96:160]):
        weight = QuantizedWeight(part.view(1, -1), torch.tensor([[0.5]]), 8)
        low, high = halves(weight)
        assert all(m.values.min() >= -8 and m.values.max() <= 7 for m in (low, high))
        assert torch.equal(low.dequantize() + high.dequantize(), weight.dequantize())
        monkeypatch.setattr(heap, "_ROWS", 2)  # the last part is shorter
        five = QuantizedWeight(part.repeat(5, 1), torch.arange(1.0, 6).view(-1, 1), 8)
        whole = sum(half.dequantize() for half in halves(five))
        assert torch.equal(whole, five.dequantize())
    # A group that reaches to both ends loses some of one.
    weight = QuantizedWeight(values.view(1, -1), torch.tensor([[1.0]]), 8)
    whole = sum(half.dequantize() for half in halves(weight))
    assert (whole - weight.dequantize()).abs().max() <= 9


@pytest.mark.parametrize("bits", [None, 4, 8, 32])
@pytest.mark.parametrize("kind", [Type.Q4_0, Type.Q8_0, Type.F32])
def test_matrices_in_parts_are_what_they_are_as_a_whole(
    kind: Type, bits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = torch.randn(70, 64, generator=torch.Generator().manual_seed(0))
    stored = Stored("F32", numbers) if kind == Type.F32 else random_blocks(kind, 70, 2)
    told: list[int] = []
    whole = convert(stored, bits, 32, None, told.append)
    monkeypatch.setattr(heap, "_ROWS", 16)  # the last part is shorter
    parts = convert(stored, bits, 32, None, told.append)
    assert sum(told) == 2 * 70 and parts.form == whole.form
    assert parts.error == pytest.approx(whole.error)
    if isinstance(whole.weight, torch.Tensor):
        assert isinstance(parts.weight, torch.Tensor) and parts.weight.equal(whole.weight)
        return
    assert isinstance(parts.weight, QuantizedWeight)
    assert parts.weight.values.equal(whole.weight.values)
    assert parts.weight.scales.equal(whole.weight.scales)


@pytest.mark.parametrize("name", ["llama", "qwen3", "phi3"])
def test_rows_of_q4_0_files_reach_the_program(name: str, tmp_path: Path) -> None:
    """Also where rows are put in order, and where q, k and v are one tensor."""
    write_gguf(
        tmp_path / "model.gguf", tiny(name), {"_norm.weight": Type.F32, ".weight": Type.Q4_0}
    )
    model, kept = built(tmp_path / "model.gguf")
    assert kept and all("of Q4_0: 4 bits in groups of 32, exact" in line for line in kept)
    file, c = GgufFile(tmp_path / "model.gguf"), model.config
    fused = name == "phi3"
    stored = file.read("blk.1.attn_qkv.weight" if fused else "blk.1.attn_k.weight").exact()
    first, count = (c.heads * c.head_width if fused else 0), c.kv_heads * c.head_width
    order = slice(None) if name == "llama" else pair_order(c, c.kv_heads)
    layer = model.layers[1].attention.k
    assert isinstance(layer, _QuantizedLinear) and stored is not None
    assert torch.equal(layer.values, stored.values[first : first + count][order])
    assert layer.scales.dtype == torch.float16
    assert torch.equal(layer.scales.float(), stored.scales[first : first + count][order])


def test_a_files_kinds_are_told(tmp_path: Path) -> None:
    types = {
        "token_embd.weight": Type.Q8_0,
        "ffn_down.weight": Type.Q4_1,
        "attn_q.weight": Type.F16,
        "attn_k.weight": Type.BF16,
    }
    write_gguf(tmp_path / "model.gguf", tiny("llama3"), types)
    _, kept = built(tmp_path / "model.gguf")
    assert [line.split(", changed")[0] for line in kept] == [
        "1 tensor of Q8_0: 8 bits in groups of 32, exact",
        "3 tensors of F16: 4 bits in groups of 32",
        "3 tensors of BF16: 4 bits in groups of 32",
        "12 tensors of F32: 4 bits in groups of 32",
        "3 tensors of Q4_1: 4 bits in groups of 32",
    ]
    _, kept = built(tmp_path / "model.gguf", bits=4)
    assert kept[0].startswith("1 tensor of Q8_0: 4 bits in groups of 32, changed by up to")
    _, kept = built(tmp_path / "model.gguf", bits=32)
    assert all("floats, exact" in line for line in kept)


# --- Damaged and hostile files ---


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(path, tiny("llama"), {"_norm.weight": Type.F32, ".weight": Type.Q4_0})
    return path.read_bytes()


def refused(path: Path, data: bytes) -> str:
    """The sentence in which opening and building a file ends."""
    path.write_bytes(data)
    with pytest.raises(WebGPUError) as error:
        built(path)
    sentence = str(error.value)
    assert "\n" not in sentence and str(path) in sentence and len(sentence) < 400
    return sentence


def field(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def with_number(data: bytes, name: str, value: int) -> bytes:
    """Another value of a field of 32 bits."""
    at = data.index(field(name)) + 8 + len(name) + 4
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


def with_tensor(data: bytes, name: str, **changes: int) -> bytes:
    """Another row length, count of rows, type or offset of a matrix."""
    at = data.index(field(name)) + 8 + len(name)
    rank, columns, rows, kind, offset = struct.unpack_from("<IQQIQ", data, at)
    found = {"rank": rank, "columns": columns, "rows": rows, "kind": kind, "offset": offset}
    new = struct.pack("<IQQIQ", *{**found, **changes}.values())
    return data[:at] + new + data[at + len(new) :]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "cut off or damaged"),
    "another format": (lambda d: b"GGML" + d[4:], "not a GGUF file"),
    "another version": (lambda d: d[:4] + b"\7\0\0\0" + d[8:], "version 7"),
    "so many tensors": (lambda d: d[:8] + b"\xff" * 8 + d[16:], "cut off or damaged"),
    "so many fields": (lambda d: d[:16] + b"\xff" * 7 + b"\x0f" + d[24:], "cut off or damaged"),
    "a long name": (lambda d: d[:24] + b"\xff" * 8 + d[32:], "cut off or damaged"),
    "no data": (lambda d: d[:-1000], "is cut off: the tensor"),
    "half a header": (lambda d: d[:300], "cut off or damaged"),
    "no layers": (lambda d: with_number(d, "llama.block_count", 0), "num_hidden_layers is 0"),
    "absurd layers": (lambda d: with_number(d, "llama.block_count", 1 << 20), "more than the 4096"),
    "more layers": (lambda d: with_number(d, "llama.block_count", 9), "has no tensor blk.3."),
    "absurd width": (
        lambda d: with_number(d, "llama.embedding_length", 1 << 31),
        "hidden_size is 2147483648, not an integer",
    ),
    "another width": (
        lambda d: with_number(d, "llama.embedding_length", 96),
        "the configuration wants",
    ),
    "no heads": (lambda d: with_number(d, "llama.attention.head_count", 0), "num_attention_heads"),
    "uneven heads": (lambda d: with_number(d, "llama.attention.head_count", 5), "evenly"),
    "missing width": (
        lambda d: d.replace(b"llama.embedding_length", b"llama.embedding_lengtX"),
        "hidden_size is missing",
    ),
    "missing tensor": (
        lambda d: d.replace(b"blk.1.attn_v.weight", b"blk.1.attn_X.weight"),
        "has no tensor blk.1.attn_v.weight",
    ),
    "another architecture": (
        lambda d: d.replace(field("llama"), field("mamba")),
        "the architecture 'mamba' is none that can be exported",
    ),
    "wrong sizes": (
        lambda d: with_tensor(d, "blk.1.attn_v.weight", rows=31),
        "has the sizes [31, 64], but the configuration wants [32, 64]",
    ),
    "half a block": (
        lambda d: with_tensor(d, "blk.1.attn_v.weight", columns=63),
        "whole blocks of 32",
    ),
    "far away": (
        lambda d: with_tensor(d, "blk.1.attn_v.weight", offset=1 << 62),
        "is cut off: the tensor",
    ),
    "unknown type": (
        lambda d: with_tensor(d, "blk.1.attn_v.weight", kind=77),
        "of type 77",
    ),
    "absurd rows": (
        lambda d: with_tensor(d, "blk.1.attn_v.weight", rows=1 << 63),
        "is none that a decoder has",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_end_in_a_sentence(what: str, good: bytes, tmp_path: Path) -> None:
    damage, part = HOSTILE[what]
    assert part in refused(tmp_path / "model.gguf", damage(good))


def test_every_cut_ends_in_a_sentence(good: bytes, tmp_path: Path) -> None:
    for end in range(0, len(good) - 1, len(good) // 97):
        refused(tmp_path / "model.gguf", good[:end])


def test_flipped_bytes_never_end_otherwise(good: bytes, tmp_path: Path) -> None:
    """A sentence, or a model: of whatever numbers, for weights have no sums to check."""
    rng = np.random.default_rng(0)
    head = good.index(b"output_norm.weight")
    path = tmp_path / "model.gguf"
    for _ in range(150):
        data = bytearray(good)
        for at in rng.integers(0, head, 3):
            data[at] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            open_source(str(path), CONTEXT)
        except WebGPUError as error:
            assert "\n" not in str(error)


def test_experts_are_refused(good: bytes, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "experts.gguf", "llama")
    writer.add_expert_count(8)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WebGPUError, match="a mixture of experts, which cannot be exported yet"):
        built(tmp_path / "experts.gguf")


# --- Split files ---


def split(folder: Path, tensors: int, name: str = "model") -> list[Path]:
    """The parts, of so many tensors, that stand beside a whole file."""
    whole = folder / f"{name}.gguf"
    types = {"_norm.weight": Type.F32, ".weight": Type.Q4_0}
    write_gguf(whole, tiny("llama"), types)
    write_gguf(whole, tiny("llama"), types, most_tensors=tensors)
    return sorted(folder.glob(f"{name}-*-of-*.gguf"))


def test_split_files_are_read_by_the_name_of_any_part(tmp_path: Path) -> None:
    parts = split(tmp_path, 10)
    assert len(parts) == 3
    whole, kept = built(tmp_path / "model.gguf")
    for part in parts:
        model, also_kept = built(part)
        assert also_kept == kept
        for name, tensor in whole.state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor), name


def test_every_part_is_needed(tmp_path: Path) -> None:
    first, second, third = split(tmp_path, 10)
    data = second.read_bytes()
    second.unlink()
    for part in (first, third):
        with pytest.raises(WebGPUError, match=f"{second} is missing, one of the 3 parts"):
            built(part)
    second.write_bytes(third.read_bytes())
    assert f"{second} is not part 2 of 3" in refused(second, third.read_bytes())
    second.write_bytes(data)
    built(first)


def test_parts_of_other_models_are_refused(tmp_path: Path) -> None:
    first, second, third = split(tmp_path, 10)
    data = second.read_bytes()
    second.write_bytes(split(tmp_path, 8, "other")[1].read_bytes())  # of four parts
    for part in (first, third):
        with pytest.raises(WebGPUError, match=f"{second} is not part 2 of 3, but"):
            built(part)
    second.write_bytes(data)
    # The tensors of the second part once more, as if they were the third's.
    number = field("split.no") + struct.pack("<IH", 2, 1)
    assert number in data
    twice = data.replace(number, field("split.no") + struct.pack("<IH", 2, 2))
    assert "have 30 tensors, 20 of them different, of 30" in refused(third, twice)


def test_a_part_by_another_name_is_refused(tmp_path: Path) -> None:
    first, *_ = split(tmp_path, 10)
    data = first.read_bytes()
    for name in ("model-first.gguf", "model-00001-of-00004.gguf"):
        assert "is one of 3 parts, but is not named" in refused(tmp_path / name, data)
