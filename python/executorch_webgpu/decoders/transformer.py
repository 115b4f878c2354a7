"""The one definition of a decoder, for every architecture of the table in architectures.py.

Attention over the cache and its writes are ExecuTorch's own operators, and rotary embeddings, norms
and 4-bit layers are spelled as the exporter's patterns have them, so that each becomes one call of
a delegate. Rotated pairs are neighbours, elements 2i and 2i + 1 of a head, whatever a file has:
whoever reads it puts the rows of q and k (and their norms) in this order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers llama::*
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .config import Activation, DecoderConfig, Layer, Rope

# What a mask adds to the scores of keys.
_SCORES = {"seen": torch.zeros(1), "hidden": torch.full((1,), -math.inf)}


def empty_transformer(
    config: DecoderConfig, context: int | None, full_logits: bool = False
) -> Transformer:
    """A decoder whose weights are not filled in; see `Transformer`."""
    with _NoInitialization():
        return Transformer(config, context, full_logits).eval().requires_grad_(False)


class Transformer(nn.Module):
    """A decoder: ``model(tokens [1, S] int64, position [1] int64)`` gives float32 logits.

    They are the last token's [1, V], or [1, S, V] with `full_logits`.

    Args:
        context: tokens its key-value cache holds. None for a decoder without a cache, in which
            every call is a sequence of its own, from position 0 on.
    """

    def __init__(self, config: DecoderConfig, context: int | None, full_logits: bool) -> None:
        super().__init__()
        self.config, self.context, self.full_logits = config, context, full_logits
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(_Block(config, layer, context) for layer in config.layers)
        self.norm = _Norm(config.width, config.norm_eps)
        self.output = nn.Linear(config.width, config.vocabulary, bias=False)
        if context is not None:
            self._add_tables(context)

    def forward(self, tokens: Tensor, position: Tensor | None = None) -> Tensor:
        step = self._step(tokens.shape[1], position)
        x = self.embedding(tokens)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        for block in self.layers:
            x = block(x, step)
        if not self.full_logits:
            x = x[:, -1, :]
        logits: Tensor = self.output(self.norm(x))
        if self.config.logit_scale != 1:
            logits = logits * self.config.logit_scale
        return _capped(logits, self.config.logit_cap)

    def _add_tables(self, context: int) -> None:
        """Cosines and sines [context, head_width / 2] of each rope, and what masks are made of."""
        for i, rope in enumerate(self._ropes()):
            cosines, sines = _rotations(rope, context, self.config.head_width)
            self.register_buffer(f"cosines{i}", cosines, persistent=False)
            self.register_buffer(f"sines{i}", sines, persistent=False)
        if self._is_masked:
            positions = torch.arange(context, dtype=torch.float32)
            for name, tensor in {"positions": positions, **_SCORES}.items():
                self.register_buffer(name, tensor.clone(), persistent=False)

    @property
    def _is_masked(self) -> bool:
        return any(isinstance(m, _Attention) and m.needs_mask for m in self.modules())

    def _ropes(self) -> list[Rope]:
        ropes = (layer.rope for layer in self.config.layers)
        return list(dict.fromkeys(rope for rope in ropes if rope is not None))

    def _step(self, length: int, position: Tensor | None) -> _Step:
        if self.context is None:
            tables = {r: _rotations(r, length, self.config.head_width) for r in self._ropes()}
            positions = torch.arange(length, dtype=torch.float32)
            return _Step(0, tables, positions, positions, tuple(_SCORES.values()))
        if position is None:
            raise ValueError("a decoder with a cache is called with a position")
        start: Any = position[0].item()
        check: Any = torch._check  # has no types
        check(start >= 0)
        check(start < self.context)

        def rows(name: str) -> Tensor:
            table: Tensor = self.get_buffer(name)
            return table.narrow(0, start, length)

        tables = {
            rope: (rows(f"cosines{i}"), rows(f"sines{i}")) for i, rope in enumerate(self._ropes())
        }
        if not self._is_masked:
            return _Step(start, tables)
        scores = tuple(self.get_buffer(name) for name in _SCORES)
        return _Step(start, tables, rows("positions"), self.get_buffer("positions"), scores)


@dataclass
class _Step:
    """What all layers of a call have in common.

    Attributes:
        start: the position of the call's first token.
        tables: cosines and sines [S, head_width / 2] of the call's positions.
        queries, keys: positions [S] of its tokens, and of all that they may see; for masks.
        scores: what is added to the score of a key that is seen, and of one that is not. Tensors,
            for the partitioner leaves numbers outside.
    """

    start: Any
    tables: dict[Rope, tuple[Tensor, Tensor]]
    queries: Tensor | None = None
    keys: Tensor | None = None
    scores: tuple[Tensor, ...] = ()
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """[S, keys], 0 where a query sees a key and -inf where it does not."""
        if window not in self.masks:
            assert self.queries is not None and self.keys is not None
            distance = self.queries.unsqueeze(1) - self.keys.unsqueeze(0)
            seen = distance >= 0
            if window is not None:
                seen = seen & (distance < window)
            seen_score, hidden_score = self.scores
            self.masks[window] = torch.where(seen, seen_score, hidden_score)
        return self.masks[window]


class _Block(nn.Module):
    """Attention and a feed-forward network, each added to the residual."""

    def __init__(self, config: DecoderConfig, layer: Layer, context: int | None) -> None:
        super().__init__()

        def norm(wanted: bool) -> nn.Module:
            return _Norm(config.width, config.norm_eps) if wanted else nn.Identity()

        self.scale = config.residual_scale
        self.attention_norm = norm(config.norm_before)
        self.attention = _Attention(config, layer, context)
        self.attention_post_norm = norm(config.norm_after)
        self.feed_forward_norm = norm(config.norm_before)
        self.feed_forward = _FeedForward(config)
        self.feed_forward_post_norm = norm(config.norm_after)

    def forward(self, x: Tensor, step: _Step) -> Tensor:
        attended = self.attention(self.attention_norm(x), step)
        x = self._add(x, self.attention_post_norm(attended))
        return self._add(
            x, self.feed_forward_post_norm(self.feed_forward(self.feed_forward_norm(x)))
        )

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + (y if self.scale == 1 else y * self.scale)


class _Attention(nn.Module):
    """Attention of query heads that share key heads in groups."""

    key_cache: Tensor
    value_cache: Tensor

    def __init__(self, config: DecoderConfig, layer: Layer, context: int | None) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        # What a cache cannot hold more of than a window shows needs no window.
        self.window = (
            None if layer.window is None or layer.window >= (context or 1 << 62) else layer.window
        )
        width, head = config.width, config.head_width
        queries, keys = config.heads * head, config.kv_heads * head

        def linear(name: str, inside: int, outside: int) -> nn.Linear:
            return nn.Linear(inside, outside, bias=name in config.biases)

        self.q = linear("q", width, queries)
        self.k = linear("k", width, keys)
        self.v = linear("v", width, keys)
        self.out = linear("out", queries, width)
        if config.query_key_norm:
            by_head = config.query_key_norm == "head"
            self.q_norm = _Norm(head if by_head else queries, config.norm_eps)
            self.k_norm = _Norm(head if by_head else keys, config.norm_eps)
        self.cached = context is not None
        if context is not None:
            for name in ("key_cache", "value_cache"):
                cache = torch.zeros(1, context, config.kv_heads, head)
                self.register_buffer(name, cache, persistent=False)

    @property
    def needs_mask(self) -> bool:
        """False where seeing all that came before is the operator's own rule."""
        return self.window is not None or self.config.attention_cap is not None

    def forward(self, x: Tensor, step: _Step) -> Tensor:
        c = self.config
        q, k, v = self.q(x), self.k(x), self.v(x)
        if c.query_key_norm == "all":
            q, k = self.q_norm(q), self.k_norm(k)
        q = q.view(1, -1, c.heads, c.head_width)
        k = k.view(1, -1, c.kv_heads, c.head_width)
        v = v.view(1, -1, c.kv_heads, c.head_width)
        if c.query_key_norm == "head":
            q, k = self.q_norm(q), self.k_norm(k)
        if self.layer.rope is not None:
            q, k = _rotate(q, k, *step.tables[self.layer.rope])
        attended = self._attend(q, k, v, step)
        out: Tensor = self.out(attended.reshape(1, -1, c.heads * c.head_width))
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, step: _Step) -> Tensor:
        scale = self.config.attention_scale
        if scale is None and self.needs_mask:
            # Written out: the exporter's pattern expects arguments that defaults would cut off.
            scale = self.config.head_width**-0.5
        mask = step.mask(self.window) if self.needs_mask or not self.cached else None
        if self.cached:
            torch.ops.llama.update_cache(k, self.key_cache, step.start)
            torch.ops.llama.update_cache(v, self.value_cache, step.start)
            k, v = self.key_cache, self.value_cache
        if mask is not None and (not self.cached or self.config.attention_cap is not None):
            return _capped_attention(q, k, v, mask, scale, self.config.attention_cap)
        attended: Tensor = torch.ops.llama.custom_sdpa(
            q, k, v, step.start, mask, 0.0, mask is None, scale
        )
        return attended


class _FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()

        def linear(name: str, inside: int, outside: int) -> nn.Linear:
            return nn.Linear(inside, outside, bias=name in config.biases)

        self.gate = linear("gate", config.width, config.hidden)
        self.up = linear("up", config.width, config.hidden)
        self.down = linear("down", config.hidden, config.width)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(_activated(self.gate(x), self.activation) * self.up(x))
        return out


class _Norm(nn.Module):
    """Root mean square norm, as the exporter's pattern has it."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


def _activated(x: Tensor, activation: Activation) -> Tensor:
    if activation == "silu":
        return functional.silu(x)
    return functional.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def _capped(x: Tensor, cap: float | None) -> Tensor:
    return x if cap is None else torch.tanh(x * (1 / cap)) * cap


def _capped_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float | None, cap: float | None
) -> Tensor:
    """Attention as products and a softmax, with a cap on the scores.

    q is [1, S, heads, D], k and v [1, K, kv heads, D], mask [S, K]; gives [1, S, heads, D].
    """
    _, length, heads, width = q.shape
    kv_heads, group = k.shape[2], heads // k.shape[2]
    # The queries of a group share their keys: [kv heads, group x S, D].
    queries = q.view(length, kv_heads, group, width).permute(1, 2, 0, 3)
    queries = queries.reshape(kv_heads, -1, width) * (width**-0.5 if scale is None else scale)
    scores = torch.bmm(queries, k.squeeze(0).permute(1, 2, 0))
    scores = _capped(scores, cap).view(kv_heads, group, length, -1) + mask
    weights = torch.softmax(scores, dim=-1).view(kv_heads, group * length, -1)
    out = torch.bmm(weights, v.squeeze(0).permute(1, 0, 2))
    return out.view(kv_heads, group, length, width).permute(2, 0, 1, 3).unsqueeze(0)


def _rotations(rope: Rope, length: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_width / 2] of positions from 0 on."""
    positions = torch.arange(length, dtype=torch.float32)
    angles = torch.outer(positions, torch.tensor(rope.frequencies, dtype=torch.float32))
    cosines, sines = angles.cos() * rope.magnitude, angles.sin() * rope.magnitude
    rest = head_width // 2 - len(rope.frequencies)
    return functional.pad(cosines, (0, rest), value=1.0), functional.pad(sines, (0, rest))


def _rotate(q: Tensor, k: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
    """q and k [1, S, heads, D], rotated in pairs of neighbours."""
    # In the order in which the exporter's pattern has the operators.
    (q_even, q_odd), (k_even, k_odd) = _pairs(q), _pairs(k)
    cosines, sines = (t.view(1, t.shape[0], 1, t.shape[1]) for t in (cosines, sines))
    q_out = (q_even * cosines - q_odd * sines, q_even * sines + q_odd * cosines)
    k_out = (k_even * cosines - k_odd * sines, k_even * sines + k_odd * cosines)
    return torch.stack(q_out, dim=-1).flatten(3), torch.stack(k_out, dim=-1).flatten(3)


def _pairs(x: Tensor) -> tuple[Tensor, ...]:
    return x.reshape((*x.shape[:-1], -1, 2)).unbind(-1)


class _NoInitialization(TorchFunctionMode):
    """Leaves new parameters as they are: filling them with random numbers takes seconds.

    What is never written takes no memory either.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
