"""Answers of models that think aloud: what is thought and what is said."""

from __future__ import annotations

from collections.abc import Iterator

from .chat import THINKING
from .tokenizer import StopTexts

_THOUGHT = "</think>"


class Thinking:
    """Tells the thought that an answer begins with, up to ``</think>``, from the rest as it comes.

    Args:
        begun: the answer begins in the middle of a thought, else with ``<think>`` or without one.
    """

    def __init__(self, begun: bool) -> None:
        self._state = "thought" if begun else "start"
        self._held = ""  # what may become <think>
        self._thought = StopTexts([_THOUGHT])

    def push(self, text: str) -> Iterator[tuple[bool, str]]:
        """Pieces of the text, each with whether it is thought."""
        text = self._held + text
        self._held = ""
        if self._state == "start":
            begin = text.lstrip()
            if THINKING.startswith(begin) and begin != THINKING:
                self._held = text
                return
            is_thought = begin.startswith(THINKING)
            self._state = "thought" if is_thought else "said"
            text = begin.removeprefix(THINKING) if is_thought else text
        if self._state == "thought":
            if piece := self._thought.push(text):
                yield True, piece
            if not self._thought.found:
                return
            self._state = "said"
            text = self._thought.held.removeprefix(_THOUGHT)
        if text:
            yield False, text

    def finish(self) -> Iterator[tuple[bool, str]]:
        """What was held back for nothing."""
        if rest := self._held or self._thought.finish():
            yield self._state == "thought", rest
