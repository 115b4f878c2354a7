"""Small models for the page's tests: one babbles, the other names a picture's colour.

python models.py FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from executorch_webgpu.lowering import lower_program
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[2]
COLOURS = {
    "black": (0, 0, 0),
    "white": (1, 1, 1),
    "red": (1, 0, 0),
    "green": (0, 0.6, 0),
    "blue": (0, 0.2, 1),
    "yellow": (1, 0.9, 0),
}


class Colours(nn.Module):
    """How near the mean colour of a picture, normalized as ImageNet's, is to each of the named."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(3, 3, 3, stride=2, bias=False)
        self.smooth.weight.data = torch.eye(3).reshape(3, 3, 1, 1).repeat(1, 1, 3, 3) / 9
        self.classify = nn.Linear(3, len(COLOURS))
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
        # -|x - c|^2, without |x|^2, which is the same for all.
        self.classify.weight.data = 20 * 2 * colours
        self.classify.bias.data = -20 * (colours**2).sum(1)
        self.mean = nn.Buffer(torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.deviation = nn.Buffer(torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smooth = self.smooth(x * self.deviation + self.mean)
        return self.classify(smooth.mean((2, 3), keepdim=True).flatten(1))


def write_image_model(folder: Path) -> None:
    """A program of [1, 3, 64, 64] and its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    program = lower_program(torch.export.export(Colours().eval(), (torch.zeros(1, 3, 64, 64),)))
    program.save(str(folder / "colours.pte"))
    (folder / "labels.txt").write_text("\n".join(COLOURS) + "\n")


def write_chat_model(folder: Path) -> None:
    """The core's sample decoder of 64 tokens, with a tokenizer for it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "build/wasm/samples/decoder.pte", folder / "babble.pte")
    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?:"
    vocabulary = [*characters, "Ġ", "é", "ü", "ß", "<|end|>"]
    vocabulary += [f"<{i}>" for i in range(64 - len(vocabulary))]
    special = {"special": True, "single_word": False, "lstrip": False, "rstrip": False}
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [
                    {"id": i, "content": token, "normalized": False, **special}
                    for i, token in enumerate(vocabulary)
                    if token.startswith("<")
                ],
                "normalizer": None,
                "pre_tokenizer": {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
                "post_processor": None,
                "decoder": {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
                "model": {
                    "type": "BPE",
                    "vocab": {token: i for i, token in enumerate(vocabulary)},
                    "merges": [],
                },
            }
        )
    )
    template = "{% for m in messages %}{{ m['content'][:4] }}:{% endfor %}"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|end|>", "chat_template": template})
    )


def main() -> None:
    """Write both into folders of the one that is given."""
    folder = Path(sys.argv[1])
    write_image_model(folder / "colours")
    write_chat_model(folder / "babble")


if __name__ == "__main__":
    main()
