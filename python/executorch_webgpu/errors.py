"""The exceptions and the warning of this package, and names from files inside its sentences."""

from __future__ import annotations

from collections.abc import Iterable


class WebGPUError(RuntimeError):
    """Something went wrong in a way worth one sentence to the user.

    `str(error)` is that sentence: what failed, where, and with which value.
    """


class DeviceLostError(WebGPUError):
    """The GPU's device is gone, or no adapter is there. A program that is loaded again gets another
    device; what its caches held is lost."""


class WebGPUWarning(RuntimeWarning):
    """Something that is worth knowing of a load that succeeded: a kernel that is wrong on this
    adapter, and was replaced."""


def listed(names: Iterable[str]) -> str:
    """Names that come from a file, for a sentence: sorted, each printable."""
    return ", ".join(sorted(name if name.isprintable() else repr(name) for name in names))
