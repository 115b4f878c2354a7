"""Who is told what models do and what is expected of them: recordings are made so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from .capi import Model
    from .expected import Array, Expected


class Observer(Protocol):
    def loads(
        self, model: Model, blob: bytes, named: Mapping[str, bytes], capacities: Sequence[int]
    ) -> None:
        """A model is about to be loaded."""

    def runs(self, model: Model, inputs: Sequence[Array | int]) -> None:
        """A call is about to be made."""

    def failed(self, model: Model, sentence: str) -> None:
        """What was about to happen did not."""

    def gave(self, model: Model, outputs: Sequence[torch.Tensor]) -> None:
        """The call was made."""

    def checks(self, got: torch.Tensor, expected: Expected) -> None:
        """One of the outputs that were given, or another tensor, is compared."""


OBSERVERS: list[Observer] = []
