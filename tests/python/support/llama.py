"""A Llama-shaped decoder in plain torch, with the weights that an exported program holds.

Nothing is taken from the exporter but the program's bytes: weights are found by the order of the
calls in its delegate, unpacked and dequantized here, so that a mistake in packing, scales or order
shows as wrong logits. The whole sequence is computed at once, without a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from executorch.backends.vulkan.serialization.vulkan_graph_schema import VkTensor
from torch import Tensor

from .delegate import VK_DTYPES
from .export import ExportedDelegate

LINEAR = "et_vk.linear_q4gsw.default"
NORM = "et_vk.rms_norm.default"


@dataclass(frozen=True)
class Layer:
    attention_norm: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    mlp_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


class Llama:
    """The model of a delegate with `layers` layers, as `logits` of token sequences."""

    def __init__(self, delegate: ExportedDelegate) -> None:
        self._delegate = delegate
        calls = delegate.graph.chain
        linears = [self._linear(c.args) for c in calls if c.name == LINEAR]
        norms = [self._constant(c.args[1]) for c in calls if c.name == NORM]
        self.eps = next(self._scalar(c.args[2]) for c in calls if c.name == NORM)
        embedding = next(c for c in calls if c.name == "et_vk.embedding_q4gsw.default")
        self.embedding = self._embedding(embedding.args)
        self.layers = [
            Layer(
                norms[2 * i],
                *linears[7 * i : 7 * i + 4],
                norms[2 * i + 1],
                *linears[7 * i + 4 :][:3],
            )
            for i in range(len(linears) // 7)
        ]
        self.norm, self.head = norms[-1], linears[-1]
        attention = next(c for c in calls if c.name == "sdpa_with_kv_cache.default")
        self.context, _, self.head_dim = self._dims(attention.args[3])[1:]
        tables = [c.args[0] for c in calls if c.name == "et_vk.prepack.default"]
        self.cos, self.sin = (self._constant(i) for i in tables[:2])

    def logits(self, tokens: list[int], rows: slice) -> Tensor:
        """Logits [rows, V] of a sequence that starts at position 0."""
        with torch.no_grad():
            x = self.embedding[torch.tensor(tokens)]
            cos, sin = self.cos[: len(tokens), None], self.sin[: len(tokens), None]
            for layer in self.layers:
                x = x + self._attention(layer, self._normed(x, layer.attention_norm), cos, sin)
                h = self._normed(x, layer.mlp_norm)
                x = x + F.linear(
                    F.silu(F.linear(h, layer.gate)) * F.linear(h, layer.up), layer.down
                )
            return F.linear(self._normed(x[rows], self.norm), self.head)

    def _attention(self, layer: Layer, h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            F.linear(h, w).view(len(h), -1, self.head_dim) for w in (layer.q, layer.k, layer.v)
        )
        q, k = (_rotated(t, cos, sin).transpose(0, 1) for t in (q, k))
        group = q.shape[0] // k.shape[0]
        k, v = (t.repeat_interleave(group, 0) for t in (k, v.transpose(0, 1)))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(out.transpose(0, 1).flatten(1), layer.o)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.eps)

    def _linear(self, args: list[int]) -> Tensor:
        packed, scales = self._constant(args[1]), self._constant(args[2])
        return _dequantized(packed, scales.float().t(), low_first=True)

    def _embedding(self, args: list[int]) -> Tensor:
        packed, scales = self._constant(args[0]), self._constant(args[1])
        return _dequantized(packed, scales.float(), low_first=bool(self._scalar(args[4])))

    def _constant(self, value_id: int) -> Tensor:
        graph = self._delegate.graph
        tensor = self._tensor(value_id)
        dtype = next(t for t, kind in VK_DTYPES.items() if kind == tensor.datatype)
        data = self._delegate.named[graph.constants[tensor.constant_id].named_key]
        count = 1
        for d in tensor.dims:
            count *= d
        return torch.frombuffer(bytearray(data), dtype=dtype)[:count].reshape(tensor.dims)

    def _tensor(self, value_id: int) -> VkTensor:
        value = self._delegate.graph.values[value_id].value
        assert isinstance(value, VkTensor)
        return value

    def _dims(self, value_id: int) -> list[int]:
        return list(self._tensor(value_id).dims)

    def _scalar(self, value_id: int) -> Any:
        return next(iter(self._delegate.graph.values[value_id].value.__dict__.values()))


def _sevens(items: list[Tensor]) -> list[list[Tensor]]:
    return [items[i : i + 7] for i in range(0, len(items) - 6, 7)]


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [S, H, D] with its adjacent pairs turned by angles [S, 1, D/2]."""
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def _dequantized(packed: Tensor, scales: Tensor, low_first: bool) -> Tensor:
    """Bytes [N, K/2] and scales [N, K/G] as floats [N, K]."""
    low, high = (packed & 15).to(torch.int8) - 8, (packed >> 4).to(torch.int8) - 8
    values = torch.stack((low, high) if low_first else (high, low), -1).flatten(1)
    return values * scales.repeat_interleave(values.shape[1] // scales.shape[1], 1)
