"""Tiny models of transformers' own classes, with seeded weights, and GGUF files of them.

The files are written as llama.cpp's converter does: names by the package's own table, rows of q and
k in pairs where that architecture's converter puts them so, one added to Gemma's norms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import torchvision  # noqa: F401  which transformers imports, if it is there
    except ImportError:
        pass
    except RuntimeError:  # built for another torch: its own operators are not there
        _library = torch.library.Library("torchvision", "DEF")
        for _name in ("nms", "qnms"):
            _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VOCABULARY = 160
WINDOW = 16

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def _longrope(original: int) -> dict[str, Any]:
    return {
        "max_position_embeddings": 4 * original,
        "original_max_position_embeddings": original,
        "partial_rotary_factor": 0.75,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": original,
            "short_factor": [1.0 + 0.05 * i for i in range(6)],
            "long_factor": [1.0 + 0.5 * i for i in range(6)],
        },
    }


# By a name for the test: the name of transformers' class, and what differs from the sizes above.
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama3": ("Llama", {"tie_word_embeddings": True, "head_dim": 32, "rope_parameters": _LLAMA3}),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen2-yarn": ("Qwen2", {"rope_parameters": _YARN}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4}),
    "gemma3": (
        "Gemma3",
        {
            "num_hidden_layers": 7,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "rope_parameters": _GEMMA3_ROPE,
        },
    ),
    "phi3": ("Phi3", {"sliding_window": WINDOW, **_longrope(256)}),
    "phi3-long": ("Phi3", _longrope(32)),
    "gemma2": (
        "Gemma2",
        {
            "num_hidden_layers": 4,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "attn_implementation": "eager",  # the others leave the caps out
        },
    ),
    "gemma2-scale": (
        "Gemma2",
        {"head_dim": 32, "query_pre_attn_scalar": 24, "attn_implementation": "eager"},
    ),
    "granite": (
        "Granite",
        {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
            "vocab_size": VOCABULARY + 3,  # as odd as the real ones
        },
    ),
    "olmo2": ("Olmo2", {}),
}
_CONFIGS = {"Gemma3": "Gemma3TextConfig"}

# What GGUF has no field for: windows where llama.cpp has none, a scale that it takes from sizes.
NOT_IN_GGUF = {"mistral", "qwen2-window", "gemma2-scale"}


def tiny(name: str, seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    """One of `TINY`, in float32, with weights such that logits are of the size of one."""
    kind, settings = TINY[name]
    config_class = getattr(transformers, _CONFIGS.get(kind, f"{kind}Config"))
    config = config_class(**{**_SIZES, **settings, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape)
        parameter.data.add_(noise * (0.1 if parameter.ndim == 2 else 0.2))
    return model.requires_grad_(False)


# --- GGUF ---

_ARCHITECTURES = {"gemma3_text": "gemma3", "mistral": "llama"}
_IN_PAIRS = {"llama", "granite", "smollm3"}

Quantize = Callable[[str, "np.ndarray[Any, Any]"], tuple[Any, Any]]


def write_gguf(
    path: Path,
    model: transformers.PreTrainedModel,
    types: Mapping[str, gguf.GGMLQuantizationType] | None = None,
    vocabulary: Callable[[gguf.GGUFWriter], None] | None = None,
    most_tensors: int = 0,
) -> None:
    """A file of the model, or several of so many tensors at most.

    Args:
        types: of the tensors whose GGUF names end so, the first that fits; F32 for others.
        vocabulary: writes the tokenizer's fields.
    """
    config = model.config
    name = _ARCHITECTURES.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, name, split_max_tensors=most_tensors)
    _write_sizes(writer, name, config)
    if vocabulary is not None:
        vocabulary(writer)
    architecture = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == name)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for hf_name, tensor in model.state_dict().items():
        if hf_name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        new = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        assert new is not None, hf_name
        data = _as_converted(name, hf_name, tensor, config).numpy()
        kinds = (kind for end, kind in (types or {}).items() if new.endswith(end))
        kind = next(kinds, gguf.GGMLQuantizationType.F32)
        if kind == gguf.GGMLQuantizationType.F32 or data.ndim == 1:
            writer.add_tensor(new, data)
        else:
            packed = gguf.quants.quantize(data, kind)
            writer.add_tensor(new, packed, raw_dtype=kind)
    _write_rope(writer, name, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as_converted(name: str, hf_name: str, tensor: Tensor, config: Any) -> Tensor:
    if name.startswith("gemma") and hf_name.endswith("norm.weight"):
        return tensor + 1
    for part, heads in (
        ("q_proj", config.num_attention_heads),
        ("k_proj", config.num_key_value_heads),
    ):
        if name in _IN_PAIRS and f".{part}." in hf_name:
            halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
            return halves.transpose(1, 2).reshape(tensor.shape).contiguous()
    return tensor


def _write_sizes(writer: gguf.GGUFWriter, name: str, c: Any) -> None:
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(c.vocab_size)
    writer.add_rope_dimension_count(int(head * (getattr(c, "partial_rotary_factor", None) or 1)))
    if name in ("gemma2", "gemma3", "phi3") and c.sliding_window:
        writer.add_sliding_window(c.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if name == "granite":
        writer.add_attention_scale(c.attention_multiplier)
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)


def _write_rope(writer: gguf.GGUFWriter, name: str, model: Any) -> None:
    rope = model.config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope["rope_type"]
    if kind == "llama3":
        factors = _plain_frequencies(model, rope) / model.model.rotary_emb.inv_freq
        writer.add_tensor("rope_freqs.weight", factors.float().numpy())
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        original = rope["original_max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(model.model.rotary_emb.attention_scaling)
        for which in ("long", "short"):
            factors = np.array(rope[f"{which}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{which}.weight", factors)


def _plain_frequencies(model: Any, rope: Mapping[str, Any]) -> Tensor:
    pairs = len(model.model.rotary_emb.inv_freq)
    return rope["rope_theta"] ** (-torch.arange(pairs).double() / pairs)
