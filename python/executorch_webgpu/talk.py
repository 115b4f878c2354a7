"""A conversation at a terminal or through pipes: answers on stdout as they come, else stderr."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from .chat import ContextFull, Conversation
from .errors import DeviceLostError, WebGPUError
from .interrupt import stop_on_interrupt
from .saved_chat import NO_PICTURES, save
from .thinking import Thinking

if TYPE_CHECKING:
    from rich.console import Console

    from .seeing import Picture
    from .tokenizer import ChatTokenizer


@dataclass
class Talk:
    """Asks, shows, and keeps the conversation in `saved`, if that is given, after each answer.

    `see` makes pictures of files; the next message is about those that were looked at.
    """

    conversation: Conversation
    tokenizer: ChatTokenizer
    notes: Console
    see: Callable[[Path], Picture]
    max_tokens: int | None = None
    saved: Path | None = None
    show_thinking: bool = False
    _pictures: list[Picture] = field(default_factory=list, init=False)

    def clear(self) -> None:
        """Start over, in the saved file as well."""
        self.conversation.clear()
        self._pictures.clear()
        self._save()

    def look_at(self, path: Path) -> None:
        """Have the next message be about a picture, too.

        Raises WebGPUError where the file is none, or the model has no eyes.
        """
        if self.saved is not None:
            raise WebGPUError(NO_PICTURES)
        picture = self._seen(path)
        self._pictures.append(picture)
        self.notes.print(f"[dim]{escape(picture.name)}: {len(picture.tokens)} tokens[/]")

    def _seen(self, path: Path) -> Picture:
        while True:
            try:
                return self.see(path)
            except DeviceLostError as error:
                self.conversation.start_over(error)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """At a terminal a failure is said, and ends what is done here only."""
        try:
            yield
        except WebGPUError as error:
            if not sys.stdin.isatty():
                raise
            self.notes.print(f"[red]{escape(str(error))}[/]")

    def obey(self, line: str) -> None:
        """Do what a line says: a command, or else a message to answer."""
        command, _, rest = line.partition(" ")
        if line == "/clear":
            self.clear()
        elif command == "/tool":
            self.answer(rest.strip(), "tool")
        elif command == "/image":
            self.look_at(Path(rest.strip()))
        elif line:
            self.answer(line)

    def answer(self, question: str, role: str = "user") -> None:
        """Print the answer as it comes, then how fast it came."""
        self._write_answer(question, role)
        self.notes.print(f"[dim]{self.conversation.timing}[/]")
        self._save()

    def _save(self) -> None:
        if self.saved is not None:
            save(self.saved, self.conversation, self.tokenizer)

    def _write_answer(self, question: str, role: str) -> None:
        with stop_on_interrupt() as stopped:
            pictures, self._pictures = self._pictures, []
            try:
                pieces = self.conversation.ask(question, self.max_tokens, stopped, role, pictures)
                _write_pieces(self._shown(pieces))
            except ContextFull as full:
                self._warn(f"{full}: the answer ends here.")
        if self.conversation.dropped:
            self._warn(
                f"To make room in the model's context, its oldest {self.conversation.dropped} "
                "messages were dropped."
            )

    def _shown(self, pieces: Iterator[str]) -> Iterator[str]:
        """The answer without its thoughts, whose time is noted instead, unless these are wanted."""
        if self.show_thinking:
            yield from pieces
            return
        thinking, started, is_fresh = None, None, False
        for piece in pieces:
            if thinking is None:
                thinking = Thinking(self.conversation.begins_thinking)
            for is_thought, text in thinking.push(piece):
                if is_thought:
                    started = started or time.perf_counter()
                    continue
                if started is not None:
                    self._note_thought(time.perf_counter() - started)
                    started, is_fresh = None, True
                shown = text.lstrip() if is_fresh else text
                is_fresh = is_fresh and not shown
                if shown:
                    yield shown
        for is_thought, text in thinking.finish() if thinking else ():
            if not is_thought:
                yield text
        if started is not None:
            self._note_thought(time.perf_counter() - started)

    def _note_thought(self, seconds: float) -> None:
        self.notes.print(f"[dim]thought for {seconds:.1f} s (--show-thinking shows it)[/]")

    def _warn(self, text: str) -> None:
        self.notes.print(f"[yellow]{escape(text)}[/]")


def _write_pieces(pieces: Iterator[str]) -> None:
    written = False
    try:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
            written = True
    finally:
        if written:
            sys.stdout.write("\n")
            sys.stdout.flush()


def lines(notes: Console) -> Iterator[str]:
    """Lines from the terminal until Ctrl-C or Ctrl-D, or those of stdin."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        yield from map(str.strip, sys.stdin)
        return
    with suppress(ImportError):
        import readline  # noqa: F401  history and line editing for input()
    notes.print("[dim]Ctrl-C stops an answer, Ctrl-D or /exit quits, /clear starts over.[/]")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input("> ").strip()
    notes.print()


def read_tools(path: Path | None) -> list[object] | None:
    """The functions that a file lists. Raises WebGPUError where it is no JSON list."""
    if path is None:
        return None
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WebGPUError(f"{path} is not JSON: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise WebGPUError(f"{path} must be a JSON list of functions, each an object")
    return tools
