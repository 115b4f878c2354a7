"""Whole programs that the stock partitioner leaves partly to ExecuTorch's own kernels, recorded for
the page with what eager PyTorch gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
import transformers
from executorch.exir import ExecutorchBackendConfig, to_edge
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from executorch_webgpu.lowering import lower_program, quiet_upstream
from support import mixed, networks, stock
from support.case_files import Call, Case
from support.expected import Expected, Tolerance
from support.export_llm import Eager, Exported, Form, lowered, make_checkpoint, official
from support.networks import First
from support.program_text import kernels_of
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, CONTEXT = 32, 4, 16
TOLERANCE = Tolerance(1e-5, 1e-5)
BYTES = "quantized_decomposed"
Inputs = Sequence[Any]
Record = Callable[[str, Case], None]


class Block(nn.Module):
    """Attention as transformers write it, and a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 64), nn.ELU(), nn.Linear(64, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(x).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.feed(self.norm(x))


class Encoder(nn.Module):
    """BERT in small: embeddings, blocks under a mask of what is padding, the mean of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        seen = mask.bool()[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
        for block in self.blocks:
            x = block(x, seen)
        kept = mask[..., None].to(x.dtype)
        return functional.normalize((x * kept).sum(1) / kept.sum(1), dim=-1)


class Cached(nn.Module):
    """A block over a cache that one token at a time is written to."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.qkv = nn.Embedding(50, WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, 50)
        shape = (1, HEADS, CONTEXT, WIDTH // HEADS)
        self.register_buffer("keys", torch.randn(shape))
        self.register_buffer("values", torch.zeros(shape))
        self.register_buffer("seen", torch.ones(CONTEXT, CONTEXT).tril().bool())

    def forward(self, token: Tensor, position: Tensor) -> Tensor:
        q, k, v = self.qkv(self.words(token)).view(1, 1, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        self.keys[:, :, position] = k
        self.values[:, :, position] = v
        mask = self.seen[position]
        mixed = functional.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(1, 1, WIDTH))


class Counter(nn.Module):
    """A state of large integers that is given back as it is, and one that becomes the input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor([3, 0, -(2**40)]))
        self.register_buffer("last", torch.zeros(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = self.last * 1
        self.count.add_(x.long())
        self.last.copy_(x)
        return self.count, self.count.cumsum(0), before


class Running(nn.Module):
    """A state that two delegates read and one makes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4, 8))
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cumsum(self.first(x) + self.total, 0)
        z = self.second(y) - self.total
        self.total.copy_(torch.tanh(z))
        return z


class Lengths(nn.Module):
    """Sizes that depend on the input's: computed, and seen as others."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.layer(x)
        tall = torch.cumsum(rows, 0).reshape(x.shape[0] * 2, 4)
        return torch.cat([tall, torch.zeros(x.shape[0] + 1, 4)]) * 2


class Weights(nn.Module):
    """Constants in 8 bits that become floats outside of the delegate."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-128, 128, (6, 8), dtype=torch.int8))
        self.register_buffer("rows", torch.randint(0, 6, (2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(torch.float32) / 64)[:, self.rows]


class Either(nn.Module):
    """One of two branches."""

    def forward(self, which: Tensor, x: Tensor) -> Tensor:
        def yes(x: Tensor) -> Tensor:
            return torch.sin(x) * 2

        def no(x: Tensor) -> Tensor:
            return x - 1

        return torch.cond(which.sum() > 3, yes, no, (x,))


def bert() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    return First(model, "input_ids", "attention_mask")


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape)


def tokens(*values: int) -> Tensor:
    return torch.tensor([values])


SENTENCES = [
    (torch.arange(24).reshape(3, 8), (torch.arange(8) < torch.tensor([[8], [5], [1]])).long()),
    (torch.arange(24).flip(0).reshape(3, 8), torch.ones(3, 8, dtype=torch.long)),
]
STATIC: dict[str, tuple[Callable[[], nn.Module], Sequence[Inputs]]] = {
    "encoder": (Encoder, SENTENCES),
    "BERT": (bert, SENTENCES),
    "cache": (Cached, [(tokens(t), torch.tensor([at])) for at, t in enumerate((5, 9, 0, 49))]),
    "weights": (Weights, [(numbers(4, 8),), (numbers(4, 8),)]),
}


ALONE: dict[str, tuple[Callable[[], nn.Module], Sequence[Inputs]]] = {
    "either": (
        Either,
        [(torch.tensor(w), numbers(2, 3)) for w in ([1.0, 1.0], [2.0, 2.0], [0.0, -1.0])],
    ),
    "counter": (Counter, [(torch.tensor([1.0, -2.5, 7.0]),), (numbers(3) * 9,), (numbers(3),)]),
}


# How a decoder is exported, and a kernel that this leaves outside.
FORMS: dict[Form, tuple[Callable[..., Exported], str]] = {
    Form("floats", "plain", "one"): (official, "aten::index_put.out"),
    Form("floats", "none", "any"): (official, "aten::any.out"),
    Form("4w", "custom", "any", "8,0"): (official, f"{BYTES}::embedding_byte.dtype_out"),
    Form("4w", "8 bits", "any"): (lowered, "llama::custom_quantized_sdpa.out"),
}


def record(
    name: str,
    pte: bytes,
    module: nn.Module | Eager,
    calls: Sequence[Inputs],
    record_case: Record,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Keep a program with what eager gives; `files` are its .ptd files."""
    eager = copy.deepcopy(module).eval() if isinstance(module, nn.Module) else module
    made = []
    for inputs in calls:
        with torch.no_grad():
            found = eager(*(x.clone() for x in inputs))
        outputs = [found] if isinstance(found, Tensor) else list(found)
        # A state that is given back changes with the next call.
        expected = [Expected([o.clone().numpy()], TOLERANCE) for o in outputs]
        made.append(Call([x.clone().numpy() for x in inputs], list(expected)))
    record_case("programs", Case(name, {}, False, pte, files, [], None, made))


@pytest.mark.parametrize("name", STATIC)
def test_static(name: str, record_case: Record) -> None:
    torch.manual_seed(0)
    make, calls = STATIC[name]
    module = make().eval()
    pte = stock.export({"forward": (copy.deepcopy(module), calls[0])})
    assert kernels_of(pte)
    record(name, pte, module, calls, record_case)


def test_several_images(record_case: Record) -> None:
    """Whose convolutions the stock partitioner leaves outside."""
    module, inputs = networks.make("detection head", 4)
    pte = stock.export({"forward": (copy.deepcopy(module), inputs)})
    assert "aten::convolution.out" in kernels_of(pte)
    record("detection head of 4", pte, module, [inputs], record_case)


def test_lowered(record_case: Record) -> None:
    torch.manual_seed(0)
    module = Running().eval()
    calls = [(numbers(4, 8),) for _ in range(3)]
    with quiet_upstream(), torch.no_grad():
        graph = torch.export.export(copy.deepcopy(module), calls[0], strict=False)
        pte = bytes(lower_program(graph).buffer)
    assert {"aten::cumsum.out", "aten::copy_"} <= kernels_of(pte)
    record("running", pte, module, calls, record_case)


def test_dynamic(record_case: Record) -> None:
    torch.manual_seed(0)
    module = Lengths().eval()
    calls = [(numbers(n, 8),) for n in (4, 9, 1, 6)]
    rows = torch.export.Dim("rows", max=9)
    pte = stock.export(
        {"forward": (module, calls[0])},
        dynamic_shapes={"x": {0: rows}},
        require_dynamic_shapes=True,
    )
    assert kernels_of(pte)
    record("lengths", pte, module, calls, record_case)


def test_an_embedding_in_bytes(record_case: Record) -> None:
    model = mixed.EightBitEmbedding(40).eval()
    calls = [(tokens(*range(n)), torch.tensor([at])) for n, at in ((3, 0), (20, 5), (1, 63))]
    pte = stock.export(
        {"forward": (copy.deepcopy(model), calls[0])},
        dynamic_shapes={
            "tokens": {1: torch.export.Dim("length", max=mixed.CONTEXT - 1)},
            "position": None,
        },
    )
    assert f"{BYTES}::embedding_byte.dtype_out" in kernels_of(pte)
    record("embedding", pte, model, calls, record_case)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_export_llm(form: Form, tmp_path: Path, record_case: Record) -> None:
    make, outside = FORMS[form]
    found = make(form, make_checkpoint(tmp_path), tmp_path)
    pte = found.pte.read_bytes()
    assert outside in kernels_of(pte)
    record(f"export_llm {form}", pte, found.eager, list(form.calls())[:8], record_case)


@pytest.mark.parametrize("name", ALONE)
def test_without_delegates(name: str, record_case: Record) -> None:
    torch.manual_seed(0)
    make, calls = ALONE[name]
    module = make()
    with quiet_upstream():
        graph = torch.export.export(copy.deepcopy(module), calls[0], strict=False)
        settings = ExecutorchBackendConfig(passes=[InitializedMutableBufferPass(["count"])])
        pte = bytes(to_edge(graph).to_executorch(settings).buffer)
    record(name, pte, module, calls, record_case)


def test_constants_in_another_file(tmp_path: Path, record_case: Record) -> None:
    torch.manual_seed(0)
    module = Weights()
    calls = [(numbers(4, 8),)]
    with quiet_upstream():
        graph = torch.export.export(copy.deepcopy(module), calls[0], strict=False)
        settings = ExecutorchBackendConfig(external_constants=True)
        made = to_edge(graph).to_executorch(settings)
    made.write_tensor_data_to_file(str(tmp_path))
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.ptd")}
    assert files
    record("weights apart", bytes(made.buffer), module, calls, record_case, files)
