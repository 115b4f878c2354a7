"""Run ExecuTorch programs on the GPU through WebGPU.

Importing this package registers the backend with the ExecuTorch runtime of the process, so the
stock API works unchanged::

    import executorch_webgpu
    from executorch.runtime import Runtime

    method = Runtime.get().load_program("model.pte").load_method("forward")

`load` does the same with errors that say what is wrong::

    model = executorch_webgpu.load("model.pte")
    (logits,) = model.forward(tokens, position)
"""

from __future__ import annotations

import warnings

from .errors import WebGPUError, WebGPUWarning
from .operators import register_operator
from .options import options
from .runtime import Model, devices, inspect, last_error, load

__all__ = [
    "Model",
    "WebGPUError",
    "WebGPUWarning",
    "devices",
    "inspect",
    "last_error",
    "load",
    "options",
    "register_operator",
]


def _register() -> None:
    """Load the backend now. A failure only warns: exporting models needs no backend."""
    from .native import library

    try:
        library()
    except WebGPUError as error:
        warnings.warn(f"executorch_webgpu: {error}", RuntimeWarning, stacklevel=3)


_register()
