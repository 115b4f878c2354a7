"""Pictures as image models take them, and what such a model says of one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import WebGPUError
from .files import check_file

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What most models that were trained on ImageNet expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

PROCESSOR_FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class Preparing:
    """How pictures become inputs.

    Attributes:
        size: pixels a side; None for what the model takes.
        mean, std: of red, green and blue in [0, 1]: the first is taken off, then divided by.
        is_whole: all of a picture is stretched to the input, instead of its middle covering it.
        resample: Pillow's number of the filter; 2 is bilinear.
    """

    size: int | None = None
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    is_whole: bool = False
    resample: int = 2

    @classmethod
    def of_words(cls, size: int | None, mean: str | None, std: str | None) -> Preparing:
        """From text such as "0.5,0.5,0.5". Raises WebGPUError if it is none."""
        return cls(size, _numbers("mean", mean, MEAN), _numbers("std", std, STD))

    @classmethod
    def beside(cls, program: Path) -> Preparing:
        """For questions about a picture: all of it, as the file that Hugging Face puts beside a
        model says, else to [-1, 1], as SigLIP takes it.

        Raises WebGPUError where that file is not what it should be.
        """
        found = _processor(program.parent)
        normalizes = found.get("do_normalize", True)
        mean = found.get("image_mean", (0.5,) * 3) if normalizes else (0.0,) * 3
        std = found.get("image_std", (0.5,) * 3) if normalizes else (1.0,) * 3
        resample = found.get("resample", 1)
        if not _are_numbers(mean) or not _are_numbers(std) or 0 in std or resample not in range(6):
            raise WebGPUError(
                f"{program.parent / PROCESSOR_FILE} has no numbers of three colours as image_mean "
                "and image_std, or no filter as resample"
            )
        return cls(None, mean, std, True, resample)

    def load(self, path: Path, what: str, kind: str, sizes: Sequence[int]) -> torch.Tensor:
        """The middle of a picture, or the whole of it, as float32 [1, 3, H, W].

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
        pixels = np.asarray(self._opened(path, width, height), np.float32) / 255
        normal = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)[None]))

    def _opened(self, path: Path, width: int, height: int) -> Image.Image:
        from PIL import Image, ImageOps, UnidentifiedImageError

        check_file(path)
        try:
            with Image.open(path) as opened:
                turned = ImageOps.exif_transpose(opened).convert("RGB")
                resample = Image.Resampling(self.resample)
                if self.is_whole:
                    return turned.resize((width, height), resample)
                return ImageOps.fit(turned, (width, height), resample)
        except UnidentifiedImageError as error:
            raise WebGPUError(f"{path} is no picture that can be read") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise WebGPUError(f"the picture {path} cannot be read: {error}") from error


def _processor(folder: Path) -> dict[str, Any]:
    path = folder / PROCESSOR_FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WebGPUError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise WebGPUError(f"{path} is no JSON object")
    return found


def _are_numbers(values: object) -> bool:
    """Whether they are three finite ones."""
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )


def _numbers(what: str, text: str | None, default: Sequence[float]) -> Sequence[float]:
    if text is None:
        return default
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not _are_numbers(found) or (what == "std" and 0 in found):
        raise WebGPUError(f"--{what} is three numbers such as 0.5,0.5,0.5, not '{text}'")
    return found


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
