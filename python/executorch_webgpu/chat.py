"""A conversation with a language model that keeps its key-value cache between turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import DeviceLostError, WebGPUError
from .tokenizer import ChatTokenizer, Message, TextStream

if TYPE_CHECKING:
    from .generate import Continue, Decoder, Logits


# Tokens that come at once are shown at once: few enough to look like a stream.
_BURST_SECONDS = 0.05
_MOST_AT_ONCE = 64

# Devices lost one after the other before a conversation gives up.
_MOST_REVIVALS = 3


class ContextFull(WebGPUError):
    """An answer has come to the end of the model's context."""


class PromptTooLong(WebGPUError):
    """A question does not fit into what is left of the model's context."""


@dataclass
class Timing:
    """How an answer went: tokens and seconds of reading the prompt and of writing."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    answer_tokens: int = 0
    answer_seconds: float = 0.0

    def __str__(self) -> str:
        read = _rate(self.prompt_tokens, self.prompt_seconds)
        # The first token of an answer comes from the prompt's logits.
        written = _rate(self.answer_tokens - 1, self.answer_seconds)
        return (
            f"prefill {self.prompt_tokens} tokens, {read} tok/s · "
            f"decode {self.answer_tokens} tokens, {written} tok/s"
        )


class Conversation:
    """Messages, and how much of them the model's cache already holds.

    The cache holds the first `position` tokens of the conversation; when it is lost with the
    device, they are fed again, and an answer goes on as if nothing had been. A new message is
    turned into text by the chat template, and only what follows the text already fed is tokenized
    and fed.

    Args:
        choose: the next token, from the logits after the latest.
        continue_greedily: does without `choose`, several tokens at a time; see `generate.Continue`.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: ChatTokenizer,
        choose: Callable[[Logits], int],
        stop_tokens: Sequence[int] | frozenset[int],
        system: str | None = None,
        continue_greedily: Continue | None = None,
    ) -> None:
        self._model = model
        self._continue_greedily = continue_greedily
        self._tokenizer = tokenizer
        self._choose = choose
        self._stop_tokens = frozenset(stop_tokens)
        self._system = system
        self.timing = Timing()
        self.clear()

    def clear(self) -> None:
        """Forget everything said; the system message stays."""
        self._fed: list[int] = []  # what the cache holds
        self._revivals = 0  # since the last token
        self._messages: list[Message] = []
        if self._system is not None:
            self._messages.append({"role": "system", "content": self._system})
        self._text = ""  # what the fed and pending tokens stand for
        self._pending: list[int] = []  # part of that text, not fed yet
        self._ending = ""  # the text of the token that ended the latest answer

    @property
    def position(self) -> int:
        """How many tokens the cache holds."""
        return len(self._fed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been said since the last `clear`."""
        return not self._text

    def ask(
        self,
        question: str,
        max_tokens: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        """Pieces of the answer as they come, each of whole characters.

        Args:
            max_tokens: end the answer after so many.
            stopped: asked between the model's steps; True ends the answer, which then stays in the
                conversation as far as it got.

        Raises:
            PromptTooLong: before any text; the conversation is as it was.
            ContextFull: after the last piece that fits; the answer stays in the conversation.
            WebGPUError: the model failed; what it had not read yet is fed with the next question.
        """
        messages = [*self._messages, Message(role="user", content=question)]
        text = self._tokenizer.render(messages)
        kept, tokens = self._to_feed(text)
        if kept + len(tokens) > self._model.context:
            raise PromptTooLong(
                f"{kept + len(tokens)} tokens do not fit into the model's context of "
                f"{self._model.context}"
            )
        self._messages, self._text, self._ending = messages, text, ""
        self._fed, self._pending = self._fed[:kept], tokens
        self.timing = Timing()
        answer: list[str] = []
        try:
            for piece in self._generate(max_tokens, stopped):
                answer.append(piece)
                yield piece
        finally:
            content = "".join(answer)
            self._messages.append(Message(role="assistant", content=content))
            self._text += content + self._ending

    def _to_feed(self, text: str) -> tuple[int, list[int]]:
        """Where to go on, and the tokens to feed there, so that the model has read `text`."""
        if self._text and text.startswith(self._text):
            rest = text[len(self._text) :]
            return self.position, [*self._pending, *self._tokenizer.encode(rest)]
        return 0, self._tokenizer.encode(text)  # the template has rewritten what was said

    def _generate(self, max_tokens: int | None, stopped: Callable[[], bool]) -> Iterator[str]:
        stream = TextStream(self._tokenizer)
        full = False
        for token in self._tokens(stopped):
            if token in self._stop_tokens:
                self._ending = self._tokenizer.token_text(token)
                break
            self.timing.answer_tokens += 1
            if piece := stream.push(token):
                yield piece
            if stopped() or self.timing.answer_tokens == max_tokens:
                break
        else:
            full = self.timing.answer_tokens > 0  # no room for more
        if rest := stream.finish():
            yield rest
        if full:
            raise ContextFull(f"the model's context of {self._model.context} tokens is full")

    def _tokens(self, stopped: Callable[[], bool]) -> Iterator[int]:
        """The answer's tokens while there is room for them; the latest is always pending."""
        logits = self._read_prompt(stopped)
        if logits is None:
            return
        self._pending = [self._choose(logits)]
        yield self._pending[0]
        at_once = 1
        while room := self._model.context - self.position:
            started = time.perf_counter()
            tokens = self._after_pending(min(at_once, room))
            seconds = time.perf_counter() - started
            self.timing.answer_seconds += seconds
            at_once = min(max(int(_BURST_SECONDS * len(tokens) / seconds), 1), _MOST_AT_ONCE)
            for token in tokens:
                self._fed += self._pending
                self._pending = [token]
                yield token

    def _after_pending(self, count: int) -> Sequence[int]:
        """What follows the pending token: one token, or up to `count` where the model can."""
        while True:
            try:
                while len(self._pending) > 1:  # after a lost device
                    self._feed(min(len(self._pending) - 1, self._model.chunk))
                tokens = self._step(count)
            except DeviceLostError as error:
                self._start_over(error)
            else:
                self._revivals = 0
                return tokens

    def _step(self, count: int) -> Sequence[int]:
        (token,) = self._pending
        if self._continue_greedily is None:
            return [self._choose(self._model([token], self.position))]
        return self._continue_greedily(token, self.position, count, self._stop_tokens)

    def _read_prompt(self, stopped: Callable[[], bool]) -> Logits | None:
        """Feed the pending tokens; logits after the last, or None when stopped before it."""
        started = time.perf_counter()
        logits = None
        while self._pending:
            if stopped():
                return None
            count = min(len(self._pending), self._model.chunk)
            try:
                logits = self._feed(count)
                self.timing.prompt_tokens += count
            except DeviceLostError as error:
                self._start_over(error)
        self.timing.prompt_seconds = time.perf_counter() - started
        return logits

    def _start_over(self, error: DeviceLostError) -> None:
        """Everything is to be fed again: the cache was lost with its device."""
        if self._revivals == _MOST_REVIVALS:
            raise error
        self._revivals += 1
        self._model.revive()
        self._pending, self._fed = self._fed + self._pending, []

    def _feed(self, count: int) -> Logits:
        """Feed the first `count` pending tokens. Nothing changes if the model fails."""
        logits = self._model(self._pending[:count], self.position)
        self._fed += self._pending[:count]
        self._pending = self._pending[count:]
        return logits


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens / seconds:.1f}" if tokens > 0 and seconds > 0 else "–"
