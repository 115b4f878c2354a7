"""The C interface (c_interface.py) over torch's tensors."""

from __future__ import annotations

import torch

from .c_interface import ArrayModel, ModelError
from .expected import Array

__all__ = ["Model", "ModelError", "as_array"]


def as_array(tensor: torch.Tensor) -> Array:
    """The tensor's elements, which are shared where they lie in their order."""
    array: Array = tensor.detach().contiguous().numpy()
    return array


class Model(ArrayModel):
    """A loaded delegate, as an ArrayModel is."""

    def run(self, *inputs: torch.Tensor | int) -> list[torch.Tensor]:
        """The outputs, each of its live sizes. Ints are passed as scalars."""
        arrays = [i if isinstance(i, int) else as_array(i) for i in inputs]
        return [torch.from_numpy(a) for a in self.execute(arrays)]
