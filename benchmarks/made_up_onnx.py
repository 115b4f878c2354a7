"""An ONNX folder of a Llama-shaped decoder with made-up 4-bit weights, to time ONNX Runtime with.

    python benchmarks/made_up_onnx.py 135m FOLDER

What the folder has is what transformers.js loads: config.json and onnx/model_q4.onnx, of the same
operators as published models (MatMulNBits in blocks of 32, GroupQueryAttention with rotary
embedding, fused norms). Speed does not depend on the weights' values. Needs onnx.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sizes import SHAPES, Shape, Size

_BLOCK = 32
_CONTRIB = "com.microsoft"


class _Graph:
    """Nodes and initializers as they come; names are unique."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def node(
        self, kind: str, inputs: list[str], outputs: int | list[str] = 1, **attributes: Any
    ) -> list[str]:
        number = len(self.nodes)
        names = (
            outputs
            if isinstance(outputs, list)
            else [f"{kind}_{number}_{i}" for i in range(outputs)]
        )
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}_{number}", **attributes))
        return names

    def contrib(
        self, kind: str, inputs: list[str], outputs: int | list[str] = 1, **attributes: Any
    ) -> list[str]:
        return self.node(kind, inputs, outputs, domain=_CONTRIB, **attributes)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def linear(self, name: str, x: str, n: int, k: int) -> str:
        """x times a matrix [n, k] of 4-bit weights with a scale for each block of 32 along k."""
        blocks = k // _BLOCK
        packed = self._rng.integers(0, 256, (n, blocks, _BLOCK // 2), np.uint8)
        scales = np.full(n * blocks, 0.01 / np.sqrt(k), np.float32)
        inputs = [x, self.constant(f"{name}.q4", packed), self.constant(f"{name}.scales", scales)]
        sizes = {"N": n, "K": k, "bits": 4, "block_size": _BLOCK, "accuracy_level": 4}
        return self.contrib("MatMulNBits", inputs, **sizes)[0]


def _decoder(shape: Shape, context: int) -> onnx.ModelProto:
    g = _Graph()
    head = shape.dim // shape.heads
    norm = g.constant("norm", np.ones(shape.dim, np.float32))
    powers = np.arange(head // 2, dtype=np.float32) * -2 / head
    angles = np.outer(np.arange(context), shape.rope_theta**powers)
    cos = g.constant("cos", np.cos(angles).astype(np.float32))
    sin = g.constant("sin", np.sin(angles).astype(np.float32))
    one = g.constant("one", np.array([1], np.int64))

    # How many keys there are, as the attention wants it.
    (total,) = g.node("ReduceSum", ["attention_mask", one], keepdims=1)
    (last,) = g.node("Sub", [total, one])
    (lengths,) = g.node("Cast", [last], to=TensorProto.INT32)
    (mask_sizes,) = g.node("Shape", ["attention_mask"])
    (keys,) = g.node("Gather", [mask_sizes, g.constant("at", np.array(1, np.int64))], axis=0)
    (keys32,) = g.node("Cast", [keys], to=TensorProto.INT32)

    embedding = np.random.default_rng(1).standard_normal((shape.vocabulary, shape.dim), np.float32)
    (residual,) = g.node("Gather", [g.constant("embedding", embedding), "input_ids"], axis=0)
    (x,) = g.node("SimplifiedLayerNormalization", [residual, norm], axis=-1, epsilon=shape.norm_eps)
    for i in range(shape.layers):
        q, k, v = (
            g.linear(f"{i}.{name}", x, heads * head, shape.dim)
            for name, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads))
        )
        past = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
        present = [f"present.{i}.key", f"present.{i}.value"]
        attended = g.contrib(
            "GroupQueryAttention",
            [q, k, v, *past, lengths, keys32, cos, sin],
            [f"attention_{i}", *present],
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
        )[0]
        projected = g.linear(f"{i}.o", attended, shape.dim, shape.heads * head)
        x, residual = _add_and_norm(g, residual, projected, norm, shape)
        gate = g.linear(f"{i}.gate", x, shape.hidden_dim, shape.dim)
        up = g.linear(f"{i}.up", x, shape.hidden_dim, shape.dim)
        (sigmoid,) = g.node("Sigmoid", [gate])
        (silu,) = g.node("Mul", [gate, sigmoid])
        (gated,) = g.node("Mul", [silu, up])
        down = g.linear(f"{i}.down", gated, shape.dim, shape.hidden_dim)
        x, residual = _add_and_norm(g, residual, down, norm, shape)
    logits = g.linear("lm_head", x, shape.vocabulary, shape.dim)
    g.nodes[-1].output[0] = "logits"
    assert logits
    return _model(g, shape, head)


def _add_and_norm(g: _Graph, residual: str, added: str, norm: str, shape: Shape) -> tuple[str, str]:
    """The norm of the sum, and the sum."""
    names = g.contrib(
        "SkipSimplifiedLayerNormalization",
        [residual, added, norm],
        [f"normed_{len(g.nodes)}", "", "", f"sum_{len(g.nodes)}"],
        epsilon=shape.norm_eps,
    )
    return names[0], names[3]


def _model(g: _Graph, shape: Shape, head: int) -> onnx.ModelProto:
    def value(name: str, kind: int, *sizes: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, sizes)

    def caches(prefix: str, length: str) -> list[onnx.ValueInfoProto]:
        sizes = ("batch_size", shape.kv_heads, length, head)
        return [
            value(f"{prefix}.{i}.{part}", TensorProto.FLOAT, *sizes)
            for i in range(shape.layers)
            for part in ("key", "value")
        ]

    inputs = [
        value("input_ids", TensorProto.INT64, "batch_size", "sequence_length"),
        value("attention_mask", TensorProto.INT64, "batch_size", "total_sequence_length"),
        *caches("past_key_values", "past_sequence_length"),
    ]
    logits = ("batch_size", "sequence_length", shape.vocabulary)
    outputs = [
        value("logits", TensorProto.FLOAT, *logits),
        *caches("present", "total_sequence_length"),
    ]
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, g.initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _config(shape: Shape, context: int) -> dict[str, Any]:
    """What transformers.js wants to know."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.hidden_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": context,
        "rms_norm_eps": shape.norm_eps,
        "bos_token_id": 1,
        "eos_token_id": shape.vocabulary - 1,
        "pad_token_id": 2,
    }


def main(
    size: Size,
    folder: Path,
    context: Annotated[int, typer.Option(min=1)] = 2048,
    layers: Annotated[int | None, typer.Option(min=1, help="As many as the size has.")] = None,
) -> None:
    """Write the folder."""
    shape = SHAPES[size] if layers is None else replace(SHAPES[size], layers=layers)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    onnx.save(_decoder(shape, context), str(folder / "onnx" / "model_q4.onnx"))
    (folder / "config.json").write_text(json.dumps(_config(shape, context), indent=1))
    print(f"{folder}: {(folder / 'onnx' / 'model_q4.onnx').stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
