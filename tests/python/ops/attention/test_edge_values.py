"""NaN, infinities and the largest numbers in attention, and in caches that are kept in f16.

The reference is et_vk.sdpa's own formula in f32; over a cache, llama::sdpa_with_kv_cache agrees
with it, and so do we: a score of NaN or +inf makes its query NaN, and so do scores of -inf alone.
A key that a query does not see counts nothing; only a value of its that is not finite may make NaN,
for 0 times it is NaN: eager torch and its flash attention do that too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import executorch.backends.vulkan.custom_ops_lib  # noqa: F401  registers et_vk.*
import pytest
import torch
from support.adapter import has_matrices
from support.attention import Rotary, Shape, sdpa_model
from support.cases import F32, I64, Tolerance, check_output, check_outputs, generator_for
from support.delegate import GraphBuilder
from support.edges import INFINITY, LARGEST, NAN
from support.options import option
from support.quantized import random_weight, unpacked

Edit = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], object]  # of q, k, v [B, H, S, D]

# Elements of the queries, keys and values; one in the middle, the last or the first row.
EDITS: dict[str, Edit] = {
    "nothing": lambda q, k, v: None,
    "NaN in a query": lambda q, k, v: _middle(q).fill_(NAN),
    "+inf in a query": lambda q, k, v: _middle(q).fill_(INFINITY),
    "-inf in the last query": lambda q, k, v: _last(q).fill_(-INFINITY),
    "NaN in a key": lambda q, k, v: _middle(k).fill_(NAN),
    "NaN in the last key": lambda q, k, v: _last(k).fill_(NAN),
    "NaN in the first key": lambda q, k, v: _first(k).fill_(NAN),
    "+inf in a key": lambda q, k, v: _middle(k).fill_(INFINITY),
    "-inf in the last key": lambda q, k, v: _last(k).fill_(-INFINITY),
    "+inf in the first key": lambda q, k, v: _first(k).fill_(INFINITY),
    "+inf in all keys": lambda q, k, v: k[..., 1].fill_(INFINITY),
    "-inf in all keys": lambda q, k, v: k[..., 1].fill_(-INFINITY),
    "NaN in all keys": lambda q, k, v: k.fill_(NAN),
    "NaN in a query and a key": lambda q, k, v: (_middle(q).fill_(NAN), _last(k).fill_(NAN)),
    "NaN in a value": lambda q, k, v: _middle(v).fill_(NAN),
    "+inf in a value": lambda q, k, v: _middle(v).fill_(INFINITY),
    "+inf in the last value": lambda q, k, v: _last(v).fill_(INFINITY),
    "-inf in the first value": lambda q, k, v: _first(v).fill_(-INFINITY),
    "values of +inf alone": lambda q, k, v: v.fill_(INFINITY),
    "zeros": lambda q, k, v: (q.zero_(), k.zero_()),
}
# Past what f16 holds, so not for products in f16.
LARGE_EDITS: dict[str, Edit] = {
    "large values": lambda q, k, v: v.fill_(1e38),
    "large scores": lambda q, k, v: (q.mul_(1e15), k.mul_(1e15)),
    "scores past the range": lambda q, k, v: (q.mul_(1e20), k.mul_(1e25)),
    "subnormal scores": lambda q, k, v: (q.mul_(1e-20), k.mul_(1e-19)),
    "subnormal queries": lambda q, k, v: q.mul_(1e-38),
}

MASKS: dict[str, Callable[[torch.Tensor], object]] = {
    "random": lambda m: None,
    "NaN": lambda m: m[-1, 1].fill_(NAN),
    "a row of NaN": lambda m: m[0].fill_(NAN),
    "+inf": lambda m: m[0, 2].fill_(INFINITY),
    "a row of -inf": lambda m: m[0].fill_(-INFINITY),
    "-inf alone": lambda m: m.fill_(-INFINITY),
    "-inf but for one": lambda m: (m.fill_(-INFINITY), m[:, 3].fill_(0)),
    "a row of the lowest": lambda m: m[-1].fill_(-LARGEST),
    "the largest": lambda m: m[0, 1].fill_(LARGEST),
    "NaN among -inf": lambda m: (m[0].fill_(-INFINITY), m[0, 1].fill_(NAN)),
}


def _first(t: torch.Tensor) -> torch.Tensor:
    return t[..., 0, 1]


def _middle(t: torch.Tensor) -> torch.Tensor:
    return t[..., t.shape[-2] // 2, 1]


def _last(t: torch.Tensor) -> torch.Tensor:
    return t[..., -1, 1]


def _randn(*sizes: int, key: object) -> torch.Tensor:
    return torch.randn(sizes, generator=generator_for("edges of attention", sizes, key))


# --- Over plain tensors --------------------------------------------------------------------------

# queries, keys and elements of a head: by the choice of kernels split, in rows, by lanes, in tiles
PLAIN = [(1, 37, 8), (3, 300, 16), (9, 40, 8), (70, 130, 32), (33, 65, 64), (20, 30, 5)]


@pytest.mark.parametrize("products", ["f32", "f16"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", PLAIN)
def test_plain(sizes: tuple[int, int, int], masked: bool, products: str) -> None:
    queries, keys, dim = sizes
    if products == "f16" and not (has_matrices() and queries > 4 and dim % 32 == 0):
        products = "f32"  # other kernels know no such products
    edits = EDITS if products == "f16" else EDITS | LARGE_EDITS
    shapes = [(1, 2, n, dim) for n in (queries, keys, keys)]
    g = GraphBuilder()
    values = [g.input(F32, s) for s in shapes]
    mask = g.input(F32, (queries, keys)) if masked else None
    g.output(g.call("et_vk.sdpa.default", *values, mask, None, out=(F32, shapes[0])))
    with option("matmul_dtype", products), g.load() as model:
        for name, edit in edits.items():
            q, k, v = (_randn(*s, key=i) for i, s in enumerate(shapes))
            edit(q, k, v)
            m = _mask(queries, keys) if masked else None
            (got,) = model.run(q, k, v, *_given(m))
            _check(got, q, k, v, m, None, products, name)
        for name, change in MASKS.items() if masked else ():
            q, k, v = (_randn(*s, key=i) for i, s in enumerate(shapes))
            m = _mask(queries, keys)
            change(m)
            (got,) = model.run(q, k, v, m)
            _check(got, q, k, v, m, None, products, f"mask: {name}")


def _mask(queries: int, keys: int) -> torch.Tensor:
    """Numbers, and -inf for some of the keys."""
    mask = _randn(queries, keys, key="mask")
    mask[:, ::5] = -INFINITY
    mask[:, -2:] = 0
    return mask


def _given(mask: torch.Tensor | None) -> list[torch.Tensor]:
    return [] if mask is None else [mask]


# --- Over a cache --------------------------------------------------------------------------------

# heads, kv heads, elements of a head, earlier positions, new ones
CACHED = [(4, 2, 8, 170, 1), (9, 3, 64, 330, 1), (4, 2, 64, 50, 3), (4, 2, 64, 40, 20)]
CACHED += [(2, 2, 32, 0, 70), (3, 1, 5, 10, 40)]


@pytest.mark.parametrize("sizes", CACHED)
def test_cached(sizes: tuple[int, int, int, int, int]) -> None:
    shape, earlier, tokens = _cached_shape(sizes)
    with sdpa_model(shape) as model:
        for name, edit in (EDITS | LARGE_EDITS).items():
            q, k, v = _cached_inputs(shape, earlier, tokens)
            edit(q, k, v)
            for start, end in ((0, earlier), (earlier, earlier + tokens)):
                if end > start:
                    rows = [_by_position(t[:, :, start:end]) for t in (k, v)]
                    queries = _by_position(q) if start == earlier else torch.zeros(shape.q(end))
                    (got,) = model.run(torch.tensor([start]), queries, *rows)
            group = shape.heads // shape.kv_heads
            k, v = (t.repeat_interleave(group, 1) for t in (k, v))
            _check(got, q, k, v, None, earlier, "f32", name)


@pytest.mark.parametrize("sizes", [s for s in CACHED if s[2] % 4 == 0])
def test_cached_behind_a_rotary_embedding(sizes: tuple[int, int, int, int, int]) -> None:
    shape, earlier, tokens = _cached_shape(sizes)
    rotary = Rotary()
    with rotary.model(shape) as model:
        for name, edit in (EDITS | LARGE_EDITS).items():
            q, k, v = _cached_inputs(shape, earlier, tokens)
            edit(q, k, v)
            for start, end in ((0, earlier), (earlier, earlier + tokens)):
                if end > start:
                    rows = [_by_position(t[:, :, start:end]) for t in (k, v)]
                    queries = _by_position(q) if start == earlier else torch.zeros(shape.q(end))
                    tables = _turns(shape, end - start)
                    (got,) = model.run(torch.tensor([start]), queries, *rows, *tables)
            # An element that is not finite spoils its partner too.
            q = _by_position(rotary(*[_by_position(q)] * 2, *_turns(shape, tokens), 0)[0])
            k = _by_position(rotary(*[_by_position(k)] * 2, *_turns(shape, earlier + tokens), 0)[0])
            group = shape.heads // shape.kv_heads
            k, v = (t.repeat_interleave(group, 1) for t in (k, v))
            _check(got, q, k, v, None, earlier, "f32", name)


def _cached_shape(sizes: tuple[int, int, int, int, int]) -> tuple[Shape, int, int]:
    heads, kv_heads, dim, earlier, tokens = sizes
    return Shape(heads, kv_heads, dim, 400, max(earlier, tokens)), earlier, tokens


def _cached_inputs(shape: Shape, earlier: int, tokens: int) -> list[torch.Tensor]:
    """q, k and v [1, heads, positions, D]; keys and values of all positions."""
    sizes = [(shape.heads, tokens)] + [(shape.kv_heads, earlier + tokens)] * 2
    return [_randn(1, h, n, shape.head_dim, key=i) for i, (h, n) in enumerate(sizes)]


def _by_position(t: torch.Tensor) -> torch.Tensor:
    """[B, heads, positions, D] to [B, positions, heads, D], or back."""
    return t.transpose(1, 2).contiguous()


def _turns(shape: Shape, tokens: int) -> list[torch.Tensor]:
    """Tables that turn nothing."""
    return [torch.ones(tokens, shape.head_dim // 2), torch.zeros(tokens, shape.head_dim // 2)]


@pytest.mark.parametrize("edit", ["nothing", "NaN in a key", "NaN in the last key"])
@pytest.mark.parametrize("sizes", [(4, 2, 32, 170), (9, 3, 64, 330)])
def test_joined_in_the_projection(sizes: tuple[int, int, int, int], edit: str) -> None:
    """One token's attention whose parts its output projection joins."""
    shape, earlier, _ = _cached_shape((*sizes, 1))
    width = shape.heads * shape.head_dim
    packed, scales = random_weight(40, width, 32, 0)
    weight = unpacked(packed, low_first=True) * scales.t().repeat_interleave(32, 1)
    with _projected(shape, packed, scales).load() as model:
        for name in (edit, "-inf in all keys", "nothing"):
            q, k, v = _cached_inputs(shape, earlier, 1)
            EDITS[name](q, k, v)
            q, k = (t.nan_to_num(0.0) if name == "nothing" else t for t in (q, k))
            for start, end in ((0, earlier), (earlier, earlier + 1)):
                rows = [_by_position(t[:, :, start:end]) for t in (k, v)]
                queries = _by_position(q) if start == earlier else torch.zeros(shape.q(end))
                position = torch.tensor([start])
                (got,) = model.run(position, queries, *rows, *_turns(shape, end - start))
            group = shape.heads // shape.kv_heads
            k, v = (t.repeat_interleave(group, 1) for t in (k, v))
            attended = torch.ops.et_vk.sdpa(q, k, v, None, None)
            expected = _by_position(attended).reshape(1, 1, width) @ weight.t()
            check_outputs([got], [expected], Tolerance(1e-4, 1e-4), name)


def _projected(shape: Shape, packed: torch.Tensor, scales: torch.Tensor) -> GraphBuilder:
    """As Rotary().model, with a linear layer on the output."""
    g = GraphBuilder()
    position = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    q, k, v = (g.input(F32, s(shape.tokens)) for s in (shape.q, shape.kv, shape.kv))
    cos, sin = (g.input(F32, (shape.tokens, shape.head_dim // 2)) for _ in range(2))
    out = [(F32, shape.q(shape.tokens)), (F32, shape.kv(shape.tokens))]
    q, k = g.call("et_vk.apply_rotary_emb.default", q, k, cos, sin, out=out)
    caches = [g.constant(torch.zeros(shape.kv(shape.capacity))) for _ in range(2)]
    args = (q, k, v, *caches, position, 1, None, 0.0, True, None)
    x = g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(shape.tokens)))
    sizes = (1, shape.tokens, shape.heads * shape.head_dim)
    x = g.call("aten.view_copy.default", x, [1, -1, sizes[2]], out=(F32, sizes))
    linear = (x, g.constant(packed), g.constant(scales), 32, None)
    width = packed.shape[0]
    g.output(g.call("et_vk.linear_q4gsw.default", *linear, out=(F32, (1, shape.tokens, width))))
    return g


# --- Caches in f16 -------------------------------------------------------------------------------

# Each special number beside an ordinary one, in both halves of a word.
SPECIALS = (7e4, -1e6, INFINITY, -INFINITY, NAN, 65519.0, 65520.0, LARGEST, 1e-8, 6e-8, 1e-40)
PAIRS = [n for i, s in enumerate(SPECIALS) for n in (s, 1.0 + i, 100.0 + i, s)]
KEPT = torch.tensor([*PAIRS, 0.0, -0.0, 1.0, 2.0])


def kept(t: torch.Tensor) -> torch.Tensor:
    """As a cache in f16 has them: numbers past the largest become that one."""
    half = t.half().float()
    return torch.where(half.isinf() & t.isfinite(), t.sign() * 65504.0, half)


@pytest.mark.parametrize("dim", [48, 30])  # whole vectors, and not
@pytest.mark.parametrize("route", ["sdpa", "update_cache", "rotary", "at load"])
def test_what_a_cache_in_f16_keeps(route: str, dim: int) -> None:
    """With a single key the result is its value."""
    for tokens in (1, 6):
        with option("kv_cache_dtype", "f16"), _keeping(route, dim, tokens).load() as model:
            for values in (KEPT[:dim], KEPT[-dim:]):
                if route == "at load" and tokens == 1:
                    values = KEPT[:dim]
                # All tokens have that value: where it is not finite, 0 times it is NaN.
                rows = values.expand(1, tokens, 1, dim).clone()
                if route == "at load":
                    rows.zero_()
                q, k = torch.zeros(1, tokens, 2, dim), torch.zeros(1, tokens, 1, dim)
                tables = _turns(Shape(2, 1, dim, 8, tokens), tokens) if route == "rotary" else []
                at = 1 if route == "at load" else 0
                (got,) = model.run(torch.tensor([at]), q, k, rows, *tables)
                seen = torch.arange(at + 1, at + tokens + 1)[None, :, None, None]
                expected = kept(values) / (seen if route == "at load" else torch.ones_like(seen))
                expected = expected.expand(1, tokens, 2, dim)
                _check_kept(got, expected, route)
                if route == "at load":
                    break  # the next would find what this one wrote


def _keeping(route: str, dim: int, tokens: int) -> GraphBuilder:
    g = GraphBuilder()
    shape = Shape(2, 1, dim, 8, tokens)
    position = g.symint("et_vk.select_as_symint.default", g.input(I64, (1,)), 0, 0)
    q, k, v = (g.input(F32, s(tokens)) for s in (shape.q, shape.kv, shape.kv))
    zeros = torch.zeros(shape.kv(8))
    first = zeros.clone()
    if route == "at load":
        first[0, 0, 0] = KEPT[:dim]
    caches = [g.constant(zeros), g.constant(first)]
    if route == "rotary":
        cos, sin = (g.input(F32, (tokens, dim // 2)) for _ in range(2))
        out = [(F32, shape.q(tokens)), (F32, shape.kv(tokens))]
        q, k = g.call("et_vk.apply_rotary_emb.default", q, k, cos, sin, out=out)
    if route == "update_cache":
        for rows, cache in zip((k, v), caches, strict=True):
            g.call("update_cache.default", rows, cache, position, out=(F32, (1,)))
        args = (q, *caches, position, None, 0.0, True, None)
        g.output(g.call("custom_sdpa.default", *args, out=(F32, shape.q(tokens))))
    else:
        args = (q, k, v, *caches, position, 1, None, 0.0, True, None)
        g.output(g.call("sdpa_with_kv_cache.default", *args, out=(F32, shape.q(tokens))))
    return g


def _check_kept(got: torch.Tensor, expected: torch.Tensor, where: str) -> None:
    # Several tokens with one infinite value: 0 times a later one's is NaN.
    later = expected.isinf() & (expected.shape[1] > 1)
    check_output(got, [expected, expected.masked_fill(later, NAN)], Tolerance(1e-3, 1e-8), where)


# --- How results compare -------------------------------------------------------------------------


def _check(
    got: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    causal_from: int | None,
    products: str,
    where: str,
) -> None:
    """Of q, k and v [B, heads, positions, D]; query i sees the keys up to causal_from + i, and what
    comes from a cache is [B, positions, heads, D]."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool)
    if causal_from is not None:
        hidden = torch.arange(k.shape[-2])[None] > causal_from + torch.arange(q.shape[-2])[:, None]
    weights = scores.masked_fill(hidden, -INFINITY).softmax(-1)
    # [.., query, key, D], a key that is hidden having no value
    each = v.unsqueeze(-3).expand(*v.shape[:-2], q.shape[-2], *v.shape[-2:])
    expected = (weights.unsqueeze(-2) @ each.masked_fill(hidden[..., None], 0.0)).squeeze(-2)
    spoiled = (~each.isfinite() & hidden[..., None]).any(-2)  # 0 times it is NaN
    alternatives = [expected, expected.masked_fill(spoiled, NAN)]
    if causal_from is not None:
        alternatives = [_by_position(a) for a in alternatives]
    close = 5e-5 if products == "f32" else 2e-3
    check_output(got, alternatives, Tolerance(close, close), where)
