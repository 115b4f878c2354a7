"""What the stock partitioner would cut, in one delegate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executorch_webgpu.lowering import partition
from support.cases import generator_for
from support.export import export_delegate
from support.lowered import Stated, follows_eager, graph_of, lowered
from torch import Tensor, nn
from torch.export import Dim


def agrees(module: nn.Module, *inputs: Tensor, dynamic_shapes: Any = None) -> None:
    """`module`, exported with the first of `inputs`, with each."""
    with export_delegate(module, inputs[:1], dynamic_shapes).load() as delegate:
        for x in inputs:
            expected = [module(x).detach()]
            torch.testing.assert_close(delegate.run(x), expected, rtol=1e-5, atol=1e-5)


def _outside(edge: Any) -> list[str]:
    """What a program calls beside delegates."""
    nodes = edge.exported_program().graph.nodes
    called = [str(node.target) for node in nodes if node.op == "call_function"]
    return [name for name in called if "getitem" not in name and "delegate" not in name]


def test_convolutions_of_several_images() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
        nn.Conv2d(8, 6, 1), nn.ConvTranspose2d(6, 4, 2, 2), nn.MaxPool2d(2),
    ).eval()  # fmt: skip
    images = [torch.randn(n, 3, 18, 14, generator=generator_for(n)) for n in (4, 2, 9, 3)]
    agrees(module, *images, dynamic_shapes=({0: Dim("batch", min=2, max=9)},))


@pytest.mark.parametrize("portable", [False, True])
def test_convolutions_of_several_images_for_other_runtimes(portable: bool) -> None:
    exported = torch.export.export(nn.Conv2d(3, 8, 3).eval(), (torch.randn(2, 3, 8, 8),))
    graph = partition(exported, portable=portable).exported_program().graph
    called = {str(node.target) for node in graph.nodes if node.op == "call_function"}
    assert any("aten.convolution" in name for name in called) == portable


def test_masks_of_numbers() -> None:
    """As of windows of an image that is turned around its edges."""

    def attend(_: nn.Module, x: Tensor) -> Tensor:
        x = torch.roll(x, (-2, -1), (1, 2))
        mask = x.new_zeros(6, 8)
        for i, rows in enumerate((slice(0, -4), slice(-4, -2), slice(-2, None))):
            mask[rows] += i
        row = mask.reshape(-1)
        mask = row[:, None] - row[None]
        return x + mask.masked_fill(mask != 0, -100.0).sum(1).reshape(6, 8)

    agrees(Stated(attend), torch.randn(2, 6, 8), torch.ones(2, 6, 8))


def test_strides_of_what_lies_so() -> None:
    """Behind a mean over an image whose channels are last."""

    def classify(_: nn.Module, x: Tensor) -> Tensor:
        x = torch.nn.functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1)
        return x.flatten(1) + 1

    agrees(Stated(classify), torch.randn(2, 5, 6, 8), torch.ones(2, 5, 6, 8))


def test_other_strides_stay() -> None:
    def every_other(_: nn.Module, x: Tensor) -> Tensor:
        return torch.as_strided(x, (3, 2), (4, 2)) * 2

    x = torch.arange(12.0).reshape(3, 4)
    (got,) = lowered(graph_of(Stated(every_other), (x,)))(x)
    assert torch.equal(got, x[:, ::2] * 2)


def test_states_are_no_numbers() -> None:
    """A number that calls change, beside one that nobody does, in what only ExecuTorch computes."""

    def count(self: Any, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x + torch.fmod(self.calls, 3) + torch.fmod(torch.full((4,), 5.0), 3)

    eager = Stated(count, calls=torch.zeros(1))
    program = lowered(graph_of(Stated(count, calls=torch.zeros(1)), (torch.ones(4),)))
    method = program.load()
    for _ in range(4):
        assert torch.equal(method.execute([torch.ones(4)])[0], eager(torch.ones(4)))


# --- What changes nothing ---


def test_expansions_to_the_sizes_that_are_there() -> None:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        turns = s.frequencies[None, :, None].expand(1, -1, 1) @ x[:, None].expand(1, 1, -1)
        return turns.transpose(1, 2).cos().expand(1, x.shape[1], 6)

    rows = Dim("rows", min=1, max=16)
    module = Stated(forward, frequencies=torch.rand(6, generator=generator_for(0)))
    given = [torch.arange(n, n + n)[None].float() for n in (3, 1, 16)]
    edge = partition(graph_of(module, given[:1], (({1: rows},),)))
    assert not _outside(edge)
    follows_eager(module, *[(x,) for x in given], dynamic_shapes=(({1: rows},),))


def test_copies_over_what_nothing_reads() -> None:
    """As CachePositionsManager's, whose next positions stand beside a kernel of ExecuTorch's."""

    def forward(s: nn.Module, x: Tensor) -> Tensor:
        s.seen.copy_(torch.where(torch.arange(8) < x.shape[0], s.seen, torch.full((8,), -1)))
        s.seen.index_copy_(0, x % 8, x)
        return s.seen.float() + x.sum()

    steps = [(torch.arange(n, n + 3),) for n in (0, 3, 7)]
    follows_eager(Stated(forward, seen=torch.zeros(8, dtype=torch.long)), *steps)


# --- What looks like a rotary embedding of rows before heads ---


def _halves_swapped(x: Tensor) -> Tensor:
    left, right = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-right, left), -1)


def rotated(s: nn.Module, q: Tensor, k: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
    """With heads [1, heads, rows, width] and a table [1, rows, turned], as transformers' Phi 3."""
    cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
    turned = cos.shape[-1]
    return tuple(
        torch.cat(
            [x[..., :turned] * cos + _halves_swapped(x[..., :turned]) * sin, x[..., turned:]], -1
        )
        for x in (q, k)
    )


@pytest.mark.parametrize("turned", [8, 6])
def test_rotary_embeddings_of_heads_before_rows(turned: int) -> None:
    rows = Dim("rows", min=1, max=16)
    shapes = (({2: rows}, {2: rows}, {1: rows}),)
    steps = [
        tuple(
            torch.randn(sizes, generator=generator_for(n))
            for sizes in ((1, 4, n, 8), (1, 2, n, 8), (1, n, turned))
        )
        for n in (5, 1, 16)
    ]
    follows_eager(Stated(rotated), *steps, dynamic_shapes=shapes)
