"""Pictures as image models take them, and what such a model says of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import WebGPUError
from .files import check_file

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What most models that were trained on ImageNet expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preparing:
    """How pictures become inputs.

    Attributes:
        size: pixels a side; None for what the model takes.
        mean, std: of red, green and blue in [0, 1]: the first is taken off, then divided by.
    """

    size: int | None = None
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD

    @classmethod
    def of_words(cls, size: int | None, mean: str | None, std: str | None) -> Preparing:
        """From text such as "0.5,0.5,0.5". Raises WebGPUError if it is none."""
        return cls(size, _numbers("mean", mean, MEAN), _numbers("std", std, STD))

    def load(self, path: Path, what: str, kind: str, sizes: Sequence[int]) -> torch.Tensor:
        """The middle of a picture as float32 [1, 3, H, W].

        It is turned as its camera was held and resized until it covers the input.

        Args:
            what: the input in words.
            kind, sizes: its type and largest sizes.

        Raises:
            WebGPUError: the input takes no picture; the file is none that Pillow reads, or only a
                part of one.
        """
        import numpy as np
        import torch

        if kind != "float32" or len(sizes) != 4 or sizes[1] != 3:
            takes = f"{kind} {list(sizes)}" if sizes else kind
            raise WebGPUError(
                f"{what} takes {takes}, not a picture as float32 [1, 3, H, W]: {path}"
            )
        height, width = (self.size, self.size) if self.size else sizes[2:]
        pixels = np.asarray(_opened(path, width, height), np.float32) / 255
        normal = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)[None]))


def _numbers(what: str, text: str | None, default: Sequence[float]) -> Sequence[float]:
    if text is None:
        return default
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 3 or not all(map(math.isfinite, found)) or (what == "std" and 0 in found):
        raise WebGPUError(f"--{what} is three numbers such as 0.5,0.5,0.5, not '{text}'")
    return found


def _opened(path: Path, width: int, height: int) -> Image.Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    check_file(path)
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened).convert("RGB")
            return ImageOps.fit(turned, (width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise WebGPUError(f"{path} is neither an array (.npy) nor a picture") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WebGPUError(f"the picture {path} cannot be read: {error}") from error


def load_labels(path: Path) -> list[str]:
    """The names of classes, a line each.

    Raises:
        WebGPUError: the file has none, or is no text.
    """
    check_file(path)
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise WebGPUError(f"{path} is no text in UTF-8, so it has no labels") from error
    if not any(name.strip() for name in names):
        raise WebGPUError(f"{path} has no labels")
    return [name.strip() for name in names]


def likeliest(
    scores: torch.Tensor, labels: Sequence[str], most: int = 5
) -> list[tuple[str, float]]:
    """Names and probabilities of the likeliest classes.

    Args:
        scores: floats before the softmax [1, N] or [N].
        labels: N names.

    Raises:
        WebGPUError: the scores are not one for each label.
    """
    import torch

    if not scores.is_floating_point() or scores.numel() != len(labels):
        kind = str(scores.dtype).removeprefix("torch.")
        raise WebGPUError(
            f"the labels are {len(labels)}, but the output is {kind} {list(scores.shape)}"
        )
    chances = torch.softmax(scores.flatten().float(), 0)
    top = torch.topk(chances, min(most, len(labels)))
    return [(labels[i], p) for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
