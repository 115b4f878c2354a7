"""Programs in parts: a decoder over embeddings, which are those of tokens or of pictures.

ExecuTorch's multimodal runner and optimum-executorch name the parts, each a method:
``vision_encoder(pixels [1, 3, H, W]) -> [1, N, D]``, ``token_embedding(tokens [1, S]) ->
[1, S, D]`` and ``text_decoder(embeddings [1, S, D], positions [S], or the first of them [1]) ->
logits``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import WebGPUError
from .files import DataPath, StrPath
from .generate import CachedDecoder, LanguageModel, last_row, no_language_model
from .pictures import Preparing
from .runtime import Model, inspect, load
from .seeing import FIRST_ROW, Picture

if TYPE_CHECKING:
    import torch

    from .generate import Logits

# By part, its method's names: today's first, then those of ExecuTorch's earlier runners.
_VISION = ("vision_encoder", "image_encoder")
_EMBEDDING = ("token_embedding", "token_embeddings")
_DECODER = ("text_decoder", "text_model", "decoder")


@dataclass(frozen=True)
class Parts:
    """The methods of a program in parts."""

    embedding: str
    decoder: str
    vision: str | None

    @classmethod
    def among(cls, methods: Collection[str]) -> Parts | None:
        """Those of a program with these methods; None where it is not in parts."""
        embedding, decoder, vision = (
            next((name for name in names if name in methods), None)
            for names in (_EMBEDDING, _DECODER, _VISION)
        )
        return cls(embedding, decoder, vision) if embedding and decoder else None


def is_in_parts(path: Path, data_path: DataPath = None) -> bool:
    """Whether a program has the methods of one in parts."""
    methods = inspect(path, data_path, {"outline": True})["methods"]
    return Parts.among([method["name"] for method in methods]) is not None


def load_decoder(path: StrPath, data_path: DataPath = None) -> CachedDecoder:
    """Load a language model, in one part or in several.

    Raises WebGPUError if it is no language model.
    """
    model = load(path, data_path)
    parts = Parts.among(model.method_names)
    return (DecoderInParts(model, parts) if parts else LanguageModel(model)).ready()


class DecoderInParts(CachedDecoder):
    """A program in parts. Tokens from `FIRST_ROW` on are rows of the pictures that it has seen."""

    def __init__(self, model: Model, parts: Parts) -> None:
        self._parts = parts
        takes = model.signature(parts.decoder)
        if [len(sizes) for _, sizes in takes] != [3, 1] or takes[1][0] != "int64":
            wanted = "embeddings [1, S, D] and their positions [S] or the first of them [1]"
            raise no_language_model(model, parts.decoder, takes, wanted)
        embeds = model.signature(parts.embedding)
        if [(kind, len(sizes)) for kind, sizes in embeds] != [("int64", 2)]:
            raise no_language_model(model, parts.embedding, embeds, "tokens [1, S] of int64")
        (_, (_, rows, self._width)), (_, (positions,)) = takes
        ((_, (_, tokens)),) = embeds
        super().__init__(model, min(rows, tokens), [parts.embedding, parts.decoder])
        self._takes_all_positions = positions > 1
        self._rows: list[torch.Tensor] = []  # of the pictures seen, [N, D] each

    @property
    def image_token(self) -> int | None:
        """The token in whose place a picture's rows go, if the program names it."""
        constant = self._model.constant
        token: int | None = constant("image_token_id", constant("image_token_index"))
        return token

    def __call__(self, tokens: Sequence[int], position: int) -> Logits:
        import torch

        count = len(tokens) if self._takes_all_positions else 1
        positions = torch.arange(position, position + count)
        inputs = [self._embedded(torch.tensor(tokens)), positions]
        return last_row(self._model.execute(self._parts.decoder, inputs)[0])

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        import torch

        of_pictures = tokens >= FIRST_ROW
        words = tokens.masked_fill(of_pictures, 0)
        embeddings: torch.Tensor = self._model.execute(self._parts.embedding, [words[None]])[0]
        if of_pictures.any():
            rows = torch.cat(self._rows)[tokens[of_pictures] - FIRST_ROW]
            embeddings[0, of_pictures] = rows.to(embeddings.dtype)
        return embeddings

    def see(self, path: Path) -> Picture:
        vision = self._parts.vision
        if vision is None:
            return super().see(path)
        kind, sizes = (*self._model.signature(vision), ("nothing", ()))[0]
        pixels = self._preparing.load(path, f"input 0 of {vision!r}", kind, sizes)
        rows: torch.Tensor = self._model.execute(vision, [pixels])[0]
        if rows.ndim < 2 or rows.shape[-1] != self._width or not rows.is_floating_point():
            kind = str(rows.dtype).removeprefix("torch.")
            raise WebGPUError(
                f"{self.path}: {vision!r} gives {kind} {list(rows.shape)}, not the embeddings "
                f"[1, N, {self._width}] that {self._parts.decoder!r} takes"
            )
        rows = rows.reshape(-1, self._width)
        if len(rows) >= self.context:
            raise WebGPUError(
                f"{path} is {len(rows)} tokens, which leaves no room for words in the model's "
                f"context of {self.context}"
            )
        first = FIRST_ROW + sum(map(len, self._rows))
        self._rows.append(rows)
        return Picture(path.name, range(first, first + len(rows)))

    @cached_property
    def _preparing(self) -> Preparing:
        return Preparing.beside(self.path)
