"""The architectures that can be exported: a table of what each has that a Llama has not.

Configurations come with config.json's names, whether from there or from a GGUF file's metadata
(`gguf_file.py` translates). A new architecture of this kind is one more entry here, and a row of
the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .config import Activation, DecoderConfig, Layer, Rope
from .fields import Fields
from .rope import rope_of

# Whether a layer's attention is limited to the window, where no list says so.
_Sliding = Callable[[Fields, int], bool]


def _never(_: Fields, __: int) -> bool:
    return False


def _always(_: Fields, __: int) -> bool:
    return True


def _if_used(fields: Fields, layer: int) -> bool:
    return fields.flag("use_sliding_window") and layer >= fields.integer("max_window_layers", 28, 0)


def _all_but_every(default: int) -> _Sliding:
    return lambda f, layer: (layer + 1) % f.integer("sliding_window_pattern", default) != 0


@dataclass(frozen=True)
class Architecture:
    """What an architecture has beside a Llama's parts.

    Attributes:
        name: for people.
        defaults: values of fields that its configurations may leave out.
        settings: fields of `DecoderConfig` that are the same for all its models.
        scales: fields of `DecoderConfig` that follow from the configuration.
        sliding: see `_Sliding`.
        no_rope_every: each so manieth layer does not see positions, unless a list says which.
        norms: names in a Hugging Face file of norms that are not a Llama's.
        norms_add_one: its Hugging Face files have norms' weights less one.
        fused: q, k and v are one tensor, and so are gate and up.
        pairs_in_gguf: the converter to GGUF puts the rows of q and k in the order of pairs.
    """

    name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    scales: Callable[[Fields], dict[str, float | None]] = lambda _: {}
    sliding: _Sliding = _never
    no_rope_every: int | None = None
    norms: Mapping[str, str] = field(default_factory=dict)
    norms_add_one: bool = False
    fused: bool = False
    pairs_in_gguf: bool = False


_LLAMA_NORMS = {
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
}
_OUTER_NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}
_FOUR_NORMS = {
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    **_OUTER_NORMS,
}
_GEMMA_SETTINGS = {"norm_after": True, "activation": "gelu_tanh"}


def _gemma_scales(f: Fields) -> dict[str, float | None]:
    return {
        "attention_scale": f.number("query_pre_attn_scalar", 256) ** -0.5,
        "embedding_scale": f.integer("hidden_size") ** 0.5,
        "attention_cap": f.optional_number("attn_logit_softcapping"),
        "logit_cap": f.optional_number("final_logit_softcapping"),
    }


def _granite_scales(f: Fields) -> dict[str, float | None]:
    return {
        "attention_scale": f.number("attention_multiplier", 1.0),
        "embedding_scale": f.number("embedding_multiplier", 1.0),
        "residual_scale": f.number("residual_multiplier", 1.0),
        "logit_scale": 1 / f.number("logits_scaling", 1.0),
    }


# By config.json's model_type.
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("Llama", norms=_LLAMA_NORMS, pairs_in_gguf=True),
    "qwen2": Architecture(
        "Qwen 2",
        settings={"biases": frozenset("qkv")},
        sliding=_if_used,
        norms=_LLAMA_NORMS,
    ),
    "qwen3": Architecture(
        "Qwen 3",
        defaults={"head_dim": 128},
        settings={"query_key_norm": "head"},
        sliding=_if_used,
        norms=_LLAMA_NORMS,
    ),
    "mistral": Architecture("Mistral", sliding=_always, norms=_LLAMA_NORMS, pairs_in_gguf=True),
    "smollm3": Architecture("SmolLM 3", no_rope_every=4, norms=_LLAMA_NORMS, pairs_in_gguf=True),
    "gemma3_text": Architecture(
        "Gemma 3",
        defaults={
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window": 4096,
        },
        settings={**_GEMMA_SETTINGS, "query_key_norm": "head"},
        scales=_gemma_scales,
        sliding=_all_but_every(6),
        norms=_FOUR_NORMS,
        norms_add_one=True,
    ),
    "phi3": Architecture("Phi 3", sliding=_always, norms=_LLAMA_NORMS, fused=True),
    "gemma2": Architecture(
        "Gemma 2",
        defaults={
            "head_dim": 256,
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        settings=_GEMMA_SETTINGS,
        scales=_gemma_scales,
        sliding=_all_but_every(2),
        norms=_FOUR_NORMS,
        norms_add_one=True,
    ),
    "granite": Architecture(
        "Granite", scales=_granite_scales, norms=_LLAMA_NORMS, pairs_in_gguf=True
    ),
    "olmo2": Architecture(
        "OLMo 2",
        settings={"query_key_norm": "all", "norm_before": False, "norm_after": True},
        norms=_OUTER_NORMS,
    ),
}

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


def architecture_of(fields: Fields) -> Architecture:
    """The entry for a configuration's model_type. Raises WebGPUError where there is none."""
    kind = fields.text("model_type")
    found = ARCHITECTURES.get(kind)
    experts = any(fields.has(n) for n in ("num_local_experts", "num_experts", "n_routed_experts"))
    if experts or "moe" in kind or kind == "mixtral":
        raise fields.error(f"{kind!r} is a mixture of experts, which cannot be exported yet")
    if found is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise fields.error(f"the architecture {kind!r} is none that can be exported ({known})")
    return found


def configure(fields: Fields, context: int, tied: bool, layers: int | None = None) -> DecoderConfig:
    """The decoder that a configuration describes.

    Args:
        context: tokens of the program's cache.
        tied: whether the file has no weight for the output layer.
        layers: keep only the first layers; None for all.

    Raises:
        WebGPUError: a field is missing, wrong or not supported.
    """
    architecture = architecture_of(fields)
    fields = fields.over(architecture.defaults)
    width, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    kv_heads = fields.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise fields.error(f"{heads} query heads do not share {kv_heads} key heads evenly")
    head_width = fields.integer("head_dim", max(width // heads, 1))
    if head_width % 2:
        raise fields.error(f"a head of {head_width} elements cannot be rotated in pairs")
    settings: dict[str, Any] = {**architecture.settings, **architecture.scales(fields)}
    settings.setdefault("biases", _biases(fields))
    settings.setdefault("activation", _activation(fields))
    return DecoderConfig(
        width=width,
        hidden=fields.integer("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        vocabulary=fields.integer("vocab_size"),
        layers=_layers(fields, architecture, head_width, context, layers),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        tied=tied or fields.flag("tie_word_embeddings"),
        **settings,
    )


def _activation(fields: Fields) -> Activation:
    name = fields.text("hidden_activation", fields.text("hidden_act", "silu"))
    if name not in _ACTIVATIONS:
        raise fields.error(f"the activation {name!r} is none of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _biases(fields: Fields) -> frozenset[str]:
    attention = {"q", "k", "v", "out"} if fields.flag("attention_bias") else set()
    feed_forward = {"gate", "up", "down"} if fields.flag("mlp_bias") else set()
    return frozenset(attention | feed_forward)


def _layers(
    fields: Fields, architecture: Architecture, head_width: int, context: int, most: int | None
) -> tuple[Layer, ...]:
    count = fields.integer("num_hidden_layers")
    if count > 4096:
        raise fields.error(f"num_hidden_layers is {count}, more than the 4096 that are sensible")
    if most is not None:
        if most < 1:
            raise fields.error(f"a model of {most} layers is not a model")
        count = min(count, most)
    ropes = {sliding: _rope(fields, sliding, head_width, context) for sliding in (False, True)}
    window = fields.integer("sliding_window") if fields.has("sliding_window") else None
    kinds = fields.entries("layer_types", count)
    layers = []
    for i in range(count):
        slides = architecture.sliding(fields, i) if kinds is None else _slides(fields, kinds[i])
        sliding = slides and window is not None
        rope = ropes[sliding] if _sees_positions(fields, architecture, i) else None
        layers.append(Layer(rope, window if sliding else None))
    return tuple(layers)


def _sees_positions(fields: Fields, architecture: Architecture, layer: int) -> bool:
    if architecture.no_rope_every is None:
        return True
    listed = fields.entries("no_rope_layers", layer + 1)
    if listed is not None:
        return bool(listed[layer])
    every = fields.integer("no_rope_layer_interval", architecture.no_rope_every)
    return (layer + 1) % every != 0


def _slides(fields: Fields, kind: object) -> bool:
    if kind not in ("full_attention", "sliding_attention"):
        raise fields.error(
            f"layer_types has {kind!r}, which is no kind of attention that can be exported"
        )
    return kind == "sliding_attention"


def _rope(fields: Fields, sliding: bool, head_width: int, context: int) -> Rope:
    """The rope of layers with a window, or of those without one.

    Since version 5 transformers writes one object `rope_parameters`, or one for each kind of layer;
    before, it wrote `rope_theta`, `rope_scaling` and, for Gemma 3, `rope_local_base_freq`.
    """
    parameters = fields.inner("rope_parameters")
    if parameters is not None:
        kind = "sliding_attention" if sliding else "full_attention"
        parameters = parameters.inner(kind) or parameters
        theta = parameters.number("rope_theta", fields.number("rope_theta", 1e4))
        return rope_of(fields, theta, head_width, context, parameters)
    if sliding and fields.has("rope_local_base_freq"):
        return rope_of(fields, fields.number("rope_local_base_freq"), head_width, context, None)
    theta = fields.number("rope_theta", 1e4)
    return rope_of(fields, theta, head_width, context, fields.inner("rope_scaling"))
