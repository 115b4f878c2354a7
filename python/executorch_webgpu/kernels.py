"""Kernels for the operators outside delegates: which are loaded, and which package has others.

ExecuTorch's Python extension brings the kernels of ``libexecutorch_kernels_optimized``, which are
also the portable ones. Its wheel has two packages more, whose import registers theirs; no list of
what they hold comes with them, so it is kept here, and a test compares it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from .errors import WebGPUError, listed


def _names(namespace: str, operators: str) -> frozenset[str]:
    return frozenset(f"{namespace}::{operator}" for operator in operators.split())


# Module to import -> operators whose kernels that registers.
PACKAGES: Mapping[str, frozenset[str]] = {
    "executorch.kernels.quantized": _names(
        "quantized_decomposed",
        """
        add.out choose_qparams.Tensor_out choose_qparams_per_token_asymmetric.out
        dequantize_per_channel.out dequantize_per_tensor.Tensor_out dequantize_per_tensor.out
        dequantize_per_token.out embedding_2bit.dtype_out embedding_2bit.out
        embedding_4bit.dtype_out embedding_4bit.out embedding_byte.dtype_out embedding_byte.out
        mixed_linear.out mixed_mm.out quantize_per_channel.out quantize_per_tensor.Tensor_out
        quantize_per_tensor.out quantize_per_token.out
        """,
    ),
    "executorch.extension.llm.custom_ops.custom_ops": _names(
        "llama",
        """
        channelwise_gated_delta_rule.out custom_quantized_sdpa.out custom_sdpa.out fallback.out
        fast_hadamard_transform.out gated_delta_rule.out quantized_moe_ffn.out
        sdpa_with_kv_cache.out update_cache.out update_cache_with_indices.out
        """,
    )
    | _names("preprocess", "tile_crop.out"),
}


def importable() -> frozenset[str]:
    """Operators for which some installed package has kernels."""
    return frozenset().union(*(held for name, held in PACKAGES.items() if _is_installed(name)))


def import_for(operators: Iterable[str]) -> None:
    """Import the installed packages that have kernels for `operators`.

    Raises WebGPUError when one cannot be imported.
    """
    for package in sorted({p for operator in operators if (p := _package_of(operator))}):
        try:
            importlib.import_module(package)
        except Exception as error:  # whatever the package does at its import
            raise WebGPUError(f"cannot import {package} for its kernels: {error}") from error


def explain_missing(method: str, operators: Collection[str]) -> str:
    """The sentence about kernels that are not loaded, with what brings each.

    Args:
        operators: as ExecuTorch registers kernels, such as ``aten::add.out``.
    """
    sources: dict[str, list[str]] = {}
    for operator in sorted(operators):
        sources.setdefault(_source_of(operator), []).append(operator)
    parts = [f"{listed(names)} ({source})" for source, names in sources.items()]
    return f"{method!r} needs kernels that are not loaded: {'; '.join(parts)}"


def _source_of(operator: str) -> str:
    package = _package_of(operator)
    if package is None:
        return "no installed package is known to have it"
    if package in sys.modules:
        return f"{package} is imported, but has not brought it"
    return f"import {package}"


def _package_of(operator: str) -> str | None:
    package = next((name for name, held in PACKAGES.items() if operator in held), None)
    return package if package and _is_installed(package) else None


def _is_installed(package: str) -> bool:
    if package in sys.modules:  # found, even if it has no spec
        return True
    with suppress(ImportError):  # of a parent package
        return importlib.util.find_spec(package) is not None
    return False
