"""Pictures in a conversation: where they stand in its text, and what they are among its tokens.

A picture is as many tokens as its encoder gives rows. These have numbers of their own, past every
vocabulary, so that a conversation tells pictures apart as it does words: what a cache holds, and
what is to be fed again, is a list of numbers like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .errors import WebGPUError
from .tokenizer import ChatTokenizer, Message

FIRST_ROW = 1 << 32

IMAGE = "<image>"  # what most vocabularies call a picture's token

# What stands for a picture in a conversation's text; no text has a lone surrogate.
_EDGE = "\ud800"
_LABEL = re.compile(f"{_EDGE}(\\d+)\\+(\\d+){_EDGE}")

# What Idefics3 and SmolVLM, whose vocabularies have it, were trained to find around a picture.
_BEFORE, _AFTER = ("<fake_token_around_image>", "<global-img>"), "<fake_token_around_image>"


@dataclass(frozen=True)
class Picture:
    """A picture that a model has encoded.

    Attributes:
        name: of its file.
        tokens: the numbers of its rows.
    """

    name: str
    tokens: range

    @property
    def label(self) -> str:
        """What stands for it in a text."""
        return f"{_EDGE}{self.tokens.start}+{len(self.tokens)}{_EDGE}"


class SeeingTokenizer(ChatTokenizer):
    """A tokenizer for messages with pictures.

    A chat template is given the parts of a message, as transformers' processors do; where it puts
    the picture's token, all tokens of the picture go.

    Args:
        image_token: the id of that token; None for that of "<image>", if there is one.
    """

    def __init__(self, tokenizer: ChatTokenizer, image_token: int | None) -> None:
        super().__init__(tokenizer._tokenizer, tokenizer._config)
        known = self._tokenizer.token_to_id(IMAGE)
        self._image_token: int | None = known if image_token is None else image_token
        self._marker = "" if self._image_token is None else self.token_text(self._image_token)

    def render(self, messages: Sequence[Message], tools: Sequence[object] | None = None) -> str:
        pictures = [one for message in messages for one in message.get("pictures", ())]
        if pictures and not self._marker:
            raise WebGPUError(
                f"the tokenizer has no token for a picture: no {IMAGE}, and the program names no "
                "image_token_id"
            )
        text = self._rendered([self._for_template(m) for m in messages], tools).replace(_EDGE, "")
        first, *others = text.split(self._marker) if self._marker else [text]
        if len(others) != len(pictures):
            raise WebGPUError(
                f"the model's chat template has {len(others)} times {self._marker}, the picture's "
                f"token, for {len(pictures)} pictures"
            )
        before, after = self._around
        labels = (f"{before}{picture.label}{after}" for picture in pictures)
        return first + "".join(a + b for a, b in zip(labels, others, strict=True))

    def encode(self, text: str) -> list[int]:
        labels = iter(_LABEL.findall(text))
        tokens: list[int] = []
        for token in super().encode(_LABEL.sub(self._marker, text)):
            label = next(labels, None) if token == self._image_token else None
            if label is None:
                tokens.append(token)
            else:
                start, count = map(int, label)
                tokens += range(start, start + count)
        return tokens

    def _for_template(self, message: Message) -> Mapping[str, object]:
        content: object = message["content"]
        if self._marker:  # what somebody wrote is no picture
            content = message["content"].replace(
                self._marker, f"{self._marker[:1]} {self._marker[1:]}"
            )
        if self._takes_parts:
            parts = [{"type": "image"} for _ in message.get("pictures", ())]
            content = [*parts, {"type": "text", "text": content}]
        return {"role": message["role"], "content": content}

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether the template knows messages of several parts; else it writes down the list."""
        parts = [{"type": "text", "text": "Hello"}]
        try:
            text = self._rendered([{"role": "user", "content": parts}], None)
        except WebGPUError:
            return False
        return "Hello" in text and "'type'" not in text

    @cached_property
    def _around(self) -> tuple[str, str]:
        if all(self._tokenizer.token_to_id(text) is not None for text in _BEFORE):
            return "".join(_BEFORE), _AFTER
        return "", ""
