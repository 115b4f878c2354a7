"""The C interface (c_interface.py) over torch's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .c_interface import ArrayModel, ModelError
from .expected import Array
from .observer import OBSERVERS

__all__ = ["Model", "ModelError", "as_array"]


def as_array(tensor: torch.Tensor) -> Array:
    """The tensor's elements, which are shared where they lie in their order."""
    array: Array = tensor.detach().contiguous().numpy()
    return array


class Model(ArrayModel):
    """A loaded delegate, as an ArrayModel is."""

    def __init__(
        self, blob: bytes, named: Mapping[str, bytes], output_capacities: Sequence[int]
    ) -> None:
        for observer in OBSERVERS:
            observer.loads(self, blob, named, output_capacities)
        try:
            super().__init__(blob, named, output_capacities)
        except ModelError as error:
            for observer in OBSERVERS:
                observer.failed(self, str(error))
            raise

    def run(self, *inputs: torch.Tensor | int) -> list[torch.Tensor]:
        """The outputs, each of its live sizes. Ints are passed as scalars."""
        arrays = [i if isinstance(i, int) else as_array(i) for i in inputs]
        for observer in OBSERVERS:
            observer.runs(self, arrays)
        try:
            outputs = [torch.from_numpy(a) for a in self.execute(arrays)]
        except ModelError as error:
            for observer in OBSERVERS:
                observer.failed(self, str(error))
            raise
        for observer in OBSERVERS:
            observer.gave(self, outputs)
        return outputs
