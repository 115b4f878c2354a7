"""Frequencies of rotary position embeddings, and the ways of stretching them to longer contexts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .config import Rope
from .fields import Fields


def rope_of(
    fields: Fields, theta: float, head_width: int, context: int, scaling: Fields | None
) -> Rope:
    """The embedding that a configuration describes.

    Args:
        scaling: the fields `rope_scaling` or `rope_parameters`; None for a plain one.
        context: tokens of the program's cache: LongRoPE has other factors for long contexts.
    """
    share = (scaling or fields).number(
        "partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)
    )
    rotated = int(head_width * share + 1e-6)  # GGUF's shares are quotients
    if share > 1 or rotated < 2 or rotated % 2:
        raise fields.error(
            f"a partial_rotary_factor of {share:g} rotates {rotated} of {head_width} elements"
        )
    exponents = torch.arange(0, rotated, 2, dtype=torch.int64).float() / rotated
    powers = torch.tensor(theta, dtype=torch.float32) ** exponents
    kind = "default" if scaling is None else _kind(scaling)
    if kind == "default" or scaling is None:
        return _rope(1.0 / powers)
    if kind == "linear":
        return _rope(1.0 / powers / scaling.number("factor"))
    if kind == "factors":
        factors = scaling.numbers("factors", len(powers))
        return _rope(1.0 / (torch.tensor(factors, dtype=torch.float32) * powers))
    if kind == "llama3":
        return _rope(_llama3(1.0 / powers, scaling, fields))
    if kind == "longrope":
        return _longrope(powers, scaling, fields, context)
    if kind == "yarn":
        return _yarn(powers, theta, scaling, fields)
    raise scaling.error(f"rope_type {kind!r} is none that this exporter knows")


def _kind(scaling: Fields) -> str:
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    return {"su": "longrope"}.get(kind, kind)


def _rope(frequencies: Tensor, magnitude: float = 1.0) -> Rope:
    return Rope(tuple(frequencies.tolist()), magnitude)


def _original_context(scaling: Fields, fields: Fields) -> int:
    name = "original_max_position_embeddings"
    if scaling.has(name):
        return scaling.integer(name)
    return fields.integer(name, fields.integer("max_position_embeddings"))


def _llama3(frequencies: Tensor, scaling: Fields, fields: Fields) -> Tensor:
    """Low frequencies divided, high ones kept, and those in between mixed (Llama 3.1)."""
    low, high = scaling.number("low_freq_factor"), scaling.number("high_freq_factor")
    if low == high:
        raise scaling.error(f"low_freq_factor and high_freq_factor are both {low:g}")
    turns = _original_context(scaling, fields) * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequencies / scaling.number("factor") + kept * frequencies


def _longrope(powers: Tensor, scaling: Fields, fields: Fields, context: int) -> Rope:
    """A factor for each frequency, other ones where the context is longer than in training."""
    original = _original_context(scaling, fields)
    name = "long_factor" if context > original else "short_factor"
    factors = torch.tensor(scaling.numbers(name, len(powers)), dtype=torch.float32)
    longest = fields.integer("max_position_embeddings", original)
    stretch = scaling.number("factor", longest / original)
    magnitude = 1.0
    if stretch > 1 and original > 1:
        magnitude = math.sqrt(1 + math.log(stretch) / math.log(original))
    return _rope(1.0 / (factors * powers), scaling.number("attention_factor", magnitude))


def _yarn(powers: Tensor, theta: float, scaling: Fields, fields: Fields) -> Rope:
    """Frequencies of few turns in the original context divided, others kept (Peng et al. 2023)."""
    original, count = _original_context(scaling, fields), len(powers)
    factor = scaling.number(
        "factor", fields.integer("max_position_embeddings", original) / original
    )

    if theta <= 1:
        raise scaling.error(f"rope_theta is {theta:g}, which yarn cannot stretch")

    def pair_with(turns: float) -> float:
        return count * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    low = pair_with(scaling.number("beta_fast", 32))
    high = pair_with(scaling.number("beta_slow", 1))
    if scaling.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * count - 1)
    ramp = (torch.arange(count, dtype=torch.float32) - low) / (high - low or 0.001)
    divided = ramp.clamp(0, 1)
    frequencies = divided / (factor * powers) + (1 - divided) / powers

    def gain(of: float) -> float:
        return 0.1 * of * math.log(factor) + 1 if factor > 1 else 1.0

    magnitude = gain(1)
    if scaling.has("mscale") and scaling.has("mscale_all_dim"):
        magnitude = gain(scaling.number("mscale")) / gain(scaling.number("mscale_all_dim"))
    return _rope(frequencies, scaling.number("attention_factor", magnitude))
