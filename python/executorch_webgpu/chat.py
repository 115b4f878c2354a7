"""A conversation with a language model that keeps its key-value cache between turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from .errors import DeviceLostError, WebGPUError
from .tokenizer import ChatTokenizer, Message, StopTexts, TextStream

if TYPE_CHECKING:
    from .generate import Continue, Decoder, Logits
    from .seeing import Picture


# Tokens that come at once are shown at once: few enough to look like a stream.
_BURST_SECONDS = 0.05
_MOST_AT_ONCE = 64

# Of a context: what is left for an answer at least, where older turns can go for it, and how much
# they then leave, so that a long conversation is not read anew at every turn.
_LEAST_ROOM = 1 / 8
_KEPT_WHEN_DROPPING = 1 / 2

# What answers of some models begin with, or what their template ends with: thoughts follow.
THINKING = "<think>"

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
    and fed. When it grows beyond the model's context, its oldest turns are dropped.

    Args:
        choose: the next token, from the logits after the latest and the tokens so far.
        continue_greedily: does without `choose`, several tokens at a time; see `generate.Continue`.
        stop_texts: an answer ends before the first of these.
        tools: functions that the model may ask for, as its template takes them.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: ChatTokenizer,
        choose: Callable[[Logits, Sequence[int]], int],
        stop_tokens: Sequence[int] | frozenset[int],
        system: str | None = None,
        continue_greedily: Continue | None = None,
        stop_texts: Sequence[str] = (),
        tools: Sequence[object] | None = None,
    ) -> None:
        self._model = model
        self._continue_greedily = continue_greedily
        self._tokenizer = tokenizer
        self._choose = choose
        self._stop_tokens = frozenset(stop_tokens)
        self._stop_texts = stop_texts
        self._tools = tools
        self._system = system
        self.timing = Timing()
        self.dropped = 0  # messages that the latest question made room by
        self.clear()

    def clear(self) -> None:
        """Forget everything said; the system message stays."""
        self._fed: list[int] = []  # what the cache holds
        self._revivals = 0  # since the last token
        self._messages: list[Message] = []
        if self._system is not None:
            self._messages.append({"role": "system", "content": self._system})
        self._text = ""  # what the fed and pending tokens stand for
        self._is_exact = True  # but for what a stop text cut off
        self._pending: list[int] = []  # part of that text, not fed yet
        self._ending = ""  # the text of the token that ended the latest answer
        self._begins_thinking = False

    @property
    def position(self) -> int:
        """How many tokens the cache holds."""
        return len(self._fed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been said since the last `clear`."""
        return not self._text

    @property
    def begins_thinking(self) -> bool:
        """Whether the template has begun the latest answer's thoughts already."""
        return self._begins_thinking

    def state(self) -> tuple[list[Message], str, list[int]]:
        """What has been said: messages, their text and its tokens, or none where those differ."""
        exact = self._is_exact
        return self._messages, self._text if exact else "", self._tokens_so_far() if exact else []

    def restore(self, messages: Sequence[Message], text: str, tokens: Sequence[int]) -> None:
        """Go on from another conversation's `state`. Its tokens are fed with the next question."""
        self.clear()
        self._messages = list(messages)
        self._text, self._pending = text, list(tokens)

    def ask(
        self,
        question: str,
        max_tokens: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
        role: str = "user",
        pictures: Sequence[Picture] = (),
    ) -> Iterator[str]:
        """Pieces of the answer as they come, each of whole characters.

        Args:
            question: what the user says, or what another `role` does: the answer of a "tool".
            max_tokens: end the answer after so many.
            stopped: asked between the model's steps; True ends the answer, which then stays in the
                conversation as far as it got.
            pictures: that the question is about, if the tokenizer and the model take any.

        Raises:
            PromptTooLong: before any text; the conversation is as it was.
            ContextFull: after the last piece that fits; the answer stays in the conversation.
            WebGPUError: the model failed; what it had not read yet is fed with the next question.
        """
        asked = Message(role=role, content=question)
        if pictures:
            asked["pictures"] = pictures
        said = [*self._messages, asked]
        messages, text, kept, tokens = self._fitting(said)
        self.dropped = len(said) - len(messages)
        self._messages, self._text, self._ending = messages, text, ""
        self._fed, self._pending, self._is_exact = self._fed[:kept], tokens, True
        self._begins_thinking = text.rstrip().endswith(THINKING)
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

    def _fitting(self, messages: list[Message]) -> tuple[list[Message], str, int, list[int]]:
        """The messages, without the oldest turns where they leave too little room for an answer.

        With them comes their text, where to go on and what to feed there.
        """
        context = self._model.context
        most = context * (1 - _LEAST_ROOM)
        while True:
            text = self._tokenizer.render(messages, self._tools)
            kept, tokens = self._to_feed(text)
            count = kept + len(tokens)
            shorter = _without_oldest_turn(messages)
            if count <= most or (shorter is None and count <= context):
                return messages, text, kept, tokens
            if shorter is None:
                seen = sum(len(p.tokens) for m in messages for p in m.get("pictures", ()))
                of_pictures = f" ({seen} of pictures)" if seen else ""
                raise PromptTooLong(
                    f"{count} tokens{of_pictures} do not fit into the model's context of {context}"
                )
            messages, most = shorter, context * _KEPT_WHEN_DROPPING

    def _to_feed(self, text: str) -> tuple[int, list[int]]:
        """Where to go on, and the tokens to feed there, so that the model has read `text`."""
        if self._is_exact and self._text and text.startswith(self._text):
            rest = text[len(self._text) :]
            return self.position, [*self._pending, *self._tokenizer.encode(rest)]
        # The template has rewritten what was said, or not all of it stays.
        tokens = self._tokenizer.encode(text)
        pairs = zip(self._fed, tokens, strict=False)
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        kept = min(alike, max(len(tokens) - 1, 0))  # something has to give logits
        return kept, tokens[kept:]

    def _tokens_so_far(self) -> list[int]:
        return self._fed + self._pending

    def _generate(self, max_tokens: int | None, stopped: Callable[[], bool]) -> Iterator[str]:
        stream, stops = TextStream(self._tokenizer), StopTexts(self._stop_texts)
        full = False
        for token in self._tokens(stopped):
            if token in self._stop_tokens:
                self._ending = self._tokenizer.token_text(token)
                break
            self.timing.answer_tokens += 1
            if piece := stops.push(stream.push(token)):
                yield piece
            if stops.found or stopped() or self.timing.answer_tokens == max_tokens:
                break
        else:
            full = self.timing.answer_tokens > 0  # no room for more
        if rest := stops.push(stream.finish()) + stops.finish():
            yield rest
        self._is_exact = not stops.found
        if full:
            raise ContextFull(f"the model's context of {self._model.context} tokens is full")

    def _tokens(self, stopped: Callable[[], bool]) -> Iterator[int]:
        """The answer's tokens while there is room for them; the latest is always pending."""
        logits = self._read_prompt(stopped)
        if logits is None:
            return
        self._pending = [self._choose(logits, self._fed)]
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
                self.start_over(error)
            else:
                self._revivals = 0
                return tokens

    def _step(self, count: int) -> Sequence[int]:
        (token,) = self._pending
        if self._continue_greedily is None:
            logits = self._model([token], self.position)
            return [self._choose(logits, self._tokens_so_far())]
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
                self.start_over(error)
        self.timing.prompt_seconds = time.perf_counter() - started
        return logits

    def start_over(self, error: DeviceLostError) -> None:
        """Everything is to be fed again: the cache was lost with its device.

        Raises `error` when that has happened too often.
        """
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


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """The messages less the first question and what followed it; None where it is the only one."""
    questions = [i for i, message in enumerate(messages) if message["role"] == "user"]
    if len(questions) < 2:
        return None
    return messages[: questions[0]] + messages[questions[1] :]


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens / seconds:.1f}" if tokens > 0 and seconds > 0 else "–"
