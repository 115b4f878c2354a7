"""Edge values, and programs in f16, through nothing but the stock runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import executorch_webgpu  # noqa: F401  registers the backend
import pytest
import torch
import torch.nn.functional as F
from support.edges import EDGES, INFINITY, NAN, check_edges, special_rows
from support.program import save, stock_forward
from torch import nn

Function = Callable[..., torch.Tensor]


class All(nn.Module):
    """Several functions of the same inputs."""

    def __init__(self, functions: list[Function]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(f(*inputs) for f in self.functions)


def run_all(
    folder: Path, functions: list[Function], inputs: list[torch.Tensor], **options: Any
) -> list[torch.Tensor]:
    saved = save(folder, "all", All(functions), inputs, **options)
    results: list[torch.Tensor] = stock_forward(saved)(*inputs)
    return results


PAIRS: list[Function] = [
    torch.pow,
    torch.minimum,
    lambda a, b: torch.div(a, b, rounding_mode="floor"),
    lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    torch.eq,
    torch.le,
    lambda a, b: torch.where(a < b, a, b),
]

SINGLES: list[Function] = [
    lambda a, b: a**-2,
    lambda a, b: a**0.5,
    lambda a, b: a**-1.5,
    lambda a, b: torch.sin(a),
    lambda a, b: torch.cos(a),
    lambda a, b: torch.tanh(a),
    lambda a, b: torch.sigmoid(a),
    lambda a, b: F.silu(a),
    lambda a, b: F.hardswish(a),
    lambda a, b: F.relu(a),
    lambda a, b: torch.exp(a),
    lambda a, b: torch.log10(a),
    lambda a, b: torch.rsqrt(a),
    lambda a, b: torch.round(a),
    lambda a, b: a.clamp(-1.0, INFINITY),
]


def test_elements(tmp_path: Path) -> None:
    a, b = (t.contiguous() for t in torch.broadcast_tensors(EDGES[:, None], EDGES[None, :]))
    functions = PAIRS + SINGLES
    for i, (got, f) in enumerate(zip(run_all(tmp_path, functions, [a, b]), functions, strict=True)):
        # The exporter makes x * sigmoid(x) of silu, whose factor may be subnormal; and on some
        # devices it is open which of two zeros is the larger.
        check_edges(
            got,
            f,
            [a, b],
            relative=4e-6,
            absolute=1e-36,
            signed_zeros=False,
            where=f"function {i}",
        )


def test_powers_of_a_size(tmp_path: Path) -> None:
    """An exponent that is a dynamic dimension: a live number of the graph."""

    class Power(nn.Module):
        def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            return torch.pow(x, like.shape[0])

    rows = torch.export.Dim("rows", min=1, max=9)
    shapes = (None, {0: rows})
    saved = save(tmp_path, "power", Power(), [EDGES, torch.zeros(4)], dynamic_shapes=shapes)
    forward = stock_forward(saved)
    for exponent in (4, 1, 2, 3, 9):
        (got,) = forward(EDGES, torch.zeros(exponent))
        check_edges(
            got,
            lambda x, exponent=exponent: torch.pow(x, exponent),
            [EDGES],
            relative=4e-6,
            where=f"to the {exponent}",
        )


def test_rows(tmp_path: Path) -> None:
    functions: list[Function] = [
        lambda x: x.softmax(-1),
        lambda x: x.log_softmax(-1),
        lambda x: x.softmax(0),
        lambda x: x.amax(-1),
        lambda x: x.amin(-1),
        lambda x: x.argmax(-1),
        lambda x: x.sum(-1),
        lambda x: x.mean(-1),
    ]
    x = special_rows(70)
    for i, (got, f) in enumerate(zip(run_all(tmp_path, functions, [x]), functions, strict=True)):
        assert torch.allclose(got, f(x), 2e-5, 1e-6, equal_nan=True), f"function {i}"


def test_attention(tmp_path: Path) -> None:
    """A mask that hides everything from one query, and NaN in a key that another may not see."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 2, n, 16, generator=generator) for n in (9, 12, 12))
    mask = torch.zeros(9, 12)
    mask[3] = -INFINITY
    mask[4, 5:] = -INFINITY
    mask[5, 0] = NAN

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return torch.softmax(q @ k.transpose(2, 3) * 0.25 + m, -1) @ v

    forward = stock_forward(save(tmp_path, "attention", All([attend]), [q, k, v, mask]))
    expected = attend(q, k, v, mask)
    assert torch.allclose(forward(q, k, v, mask)[0], expected, 1e-4, 1e-5, equal_nan=True)
    assert expected[:, :, 3].isnan().all() and expected[:, :, 5].isnan().all()
    k[0, 0, 7] = NAN
    expected = attend(q, k, v, mask)
    assert torch.allclose(forward(q, k, v, mask)[0], expected, 1e-4, 1e-5, equal_nan=True)


# --- Programs in f16: docs/limits.md has these bounds --------------------------------------------


class Mlp(nn.Module):
    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Attention of four heads and an Mlp, both behind a norm and with a residual."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.mlp = Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, rows, width = x.shape
        y = self.norms[0](x)
        q, k, v = (
            p(y).reshape(batch, rows, 4, width // 4).transpose(1, 2) for p in self.projections[:3]
        )
        weights = torch.softmax(q @ k.transpose(2, 3) * (width // 4) ** -0.5, -1)
        x = x + self.projections[3]((weights @ v).transpose(1, 2).reshape(batch, rows, width))
        return x + self.mlp(self.norms[1](x))


HALVES: dict[str, tuple[nn.Module, tuple[int, ...], float]] = {
    # module, sizes of its input, and how far eager's f16 may be, in parts of the largest result
    "elements": (
        All([lambda x: torch.sigmoid(1.5 * x + 0.25) * torch.tanh(x) - x / 3]),
        (4, 256),
        2e-3,
    ),
    "softmax": (All([lambda x: torch.softmax(3 * x, -1)]), (4, 1000), 3e-3),
    "sum": (All([lambda x: (x * x).sum(-1)]), (4, 4096), 1e-3),
    "Mlp": (Mlp(), (16, 256), 1e-3),
    "block": (Block(), (1, 32, 256), 1e-3),
}


@pytest.mark.parametrize("recorded", ["force_fp16", "exported in f16"])
@pytest.mark.parametrize("name", HALVES)
def test_programs_in_f16(name: str, recorded: str, tmp_path: Path) -> None:
    """As exact as f32 for the rounded weights and inputs: eager's f16 is as far as it rounds."""
    module, sizes, apart = HALVES[name]
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        bound = parameter.shape[-1] ** -0.5
        with torch.no_grad():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * 2 * bound - bound)
    x = torch.randn(sizes, generator=generator).half()
    half = copy.deepcopy(module).half()
    forced = recorded == "force_fp16"
    saved = save(
        tmp_path,
        "half",
        copy.deepcopy(module) if forced else half,
        [x.float() if forced else x],
        options={"force_fp16": True} if forced else None,
    )
    got = stock_forward(saved)(x.float() if forced else x)[0].double()
    with torch.no_grad():
        eager = _only(half(x)).double()
        exact = _only(copy.deepcopy(half).double()(x.double()))
    largest = exact.abs().max()
    rounding = 0 if forced else 2.0**-11 * exact.abs()
    assert ((got - exact).abs() <= rounding + 5e-6 * largest).all()
    assert ((got - eager).abs() <= apart * largest).all()


def _only(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result


def test_programs_in_f16_go_past_its_range_on_the_way(tmp_path: Path) -> None:
    """Eager's product is infinite; ours is not, until it leaves as f16."""
    product, quotient = run_all(
        tmp_path,
        [lambda x: x * 300.0, lambda x: x * 300.0 / 1000.0],
        [torch.tensor([100.0, 250.0, -300.0, INFINITY, NAN]).half()],
    )
    expected = torch.tensor([30000.0, INFINITY, -INFINITY, INFINITY, NAN])
    assert torch.allclose(product.float(), expected, equal_nan=True)
    expected = torch.tensor([30.0, 75.0, -90.0, INFINITY, NAN])
    assert torch.allclose(quotient.float(), expected, 1e-3, equal_nan=True)
