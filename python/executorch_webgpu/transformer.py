"""Upstream's Llama definition, made for the shape of any Llama-shaped decoder."""

from __future__ import annotations

from typing import Any

from executorch.examples.models.llama.llama_transformer import construct_transformer
from executorch.examples.models.llama.model_args import ModelArgs
from torch import nn
from torch.overrides import TorchFunctionMode

from .shape import Shape


def empty_transformer(
    shape: Shape, context: int, full_logits: bool = False, **changes: Any
) -> nn.Module:
    """A decoder whose weights are not filled in.

    Call it as ``model(tokens, {"input_pos": position})`` with int64 tensors [1, S] and [1]; it
    gives float32 logits [1, V], or [1, S, V] with `full_logits`.

    Args:
        context: tokens its key-value cache holds.
        changes: other values for upstream's arguments.
    """
    settings: dict[str, Any] = {
        "dim": shape.dim,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "n_kv_heads": shape.kv_heads,
        "head_dim": shape.dim // shape.heads,
        "hidden_dim": shape.hidden_dim,
        "vocab_size": shape.vocabulary,
        "norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "max_seq_len": context,
        "max_context_len": context,
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
        "generate_full_logits": full_logits,
    }
    with _NoInitialization():
        model: nn.Module = construct_transformer(ModelArgs(**(settings | changes)))
    return model.eval().requires_grad_(False)


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
