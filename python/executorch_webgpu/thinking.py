"""Answers of models that think aloud: what is thought and what is said."""

from __future__ import annotations

from collections.abc import Iterator

from .chat import THINKING
from .tokenizer import StopTexts

_THOUGHT = "</think>"


class Thinking:
    """Tells thoughts, between ``<think>`` and ``</think>``, from the rest of an answer as it comes.

    Args:
        begun: the answer begins in the middle of a thought.
    """

    def __init__(self, begun: bool) -> None:
        self.is_thinking = begun
        self._until = StopTexts([_THOUGHT if begun else THINKING])

    def push(self, text: str) -> Iterator[tuple[bool, str]]:
        """Pieces of the text, each with whether it is thought."""
        while True:
            piece = self._until.push(text)
            if piece:
                yield self.is_thinking, piece
            if not self._until.found:
                return
            mark = _THOUGHT if self.is_thinking else THINKING
            text = self._until.held.removeprefix(mark)
            self.is_thinking = not self.is_thinking
            self._until = StopTexts([_THOUGHT if self.is_thinking else THINKING])

    def finish(self) -> Iterator[tuple[bool, str]]:
        """What was held back for nothing."""
        if rest := self._until.finish():
            yield self.is_thinking, rest
