"""The tokenizer of a chat model: token ids, the chat template and streaming of text.

Beside a model lie two files with the names Hugging Face uses: ``tokenizer.json``, which other
runners read as well, and ``tokenizer_config.json`` with the chat template and the special tokens.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from .errors import WebGPUError
from .files import write_atomically

if TYPE_CHECKING:
    import jinja2
    import tokenizers

    from .seeing import Picture

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"


class Message(TypedDict):
    """One message of a conversation; `role` is "system", "user", "assistant" or "tool"."""

    role: str
    content: str
    pictures: NotRequired[Sequence[Picture]]  # that it is about


class ChatTokenizer:
    """A model's tokenizer and chat template, read from the files beside it."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, config: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._config = config

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Read both files. Raises WebGPUError when one is missing or not what it should be."""
        from tokenizers import Tokenizer

        for name in (TOKENIZER_FILE, CONFIG_FILE):
            if not (folder / name).is_file():
                raise WebGPUError(f"{folder / name} is missing: a chat model needs it beside it")
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise WebGPUError(f"cannot read the tokenizer files in {folder}: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("chat_template"), str):
            raise WebGPUError(f"{folder / CONFIG_FILE} has no chat_template")
        return cls(tokenizer, config)

    def check_folder(self, folder: Path) -> None:
        """Raise WebGPUError where the files of another tokenizer are: a folder has room for one."""
        from tokenizers import Tokenizer

        there = folder / TOKENIZER_FILE
        if not there.is_file():
            return
        try:
            other = Tokenizer.from_file(str(there)).to_str()
        except Exception:  # tokenizers raises bare Exception
            other = ""
        if other != self._tokenizer.to_str():
            raise WebGPUError(
                f"{there} is another model's tokenizer: choose another folder for this one"
            )

    def save(self, folder: Path) -> None:
        """Write both files into `folder`."""
        config = json.dumps(self._config, indent=2, ensure_ascii=False)
        for name, text in ((CONFIG_FILE, config), (TOKENIZER_FILE, self._tokenizer.to_str())):
            with write_atomically(folder / name) as file:
                file.write(text.encode())

    @cached_property
    def digest(self) -> str:
        """Of the vocabulary: tokens of one mean nothing to another."""
        return sha256(self._tokenizer.to_str().encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """How many tokens there are."""
        count: int = self._tokenizer.get_vocab_size()
        return count

    @property
    def has_template(self) -> bool:
        """Whether the model has been taught to converse."""
        return "chat_template" in self._config

    @property
    def eos_text(self) -> str:
        """The text of the token that ends an answer, "" where none is named."""
        return self._config.get("eos_token", "")

    @property
    def eos(self) -> int | None:
        """The id of the token that ends an answer, if the configuration names one."""
        token = self._config.get("eos_token")
        found: int | None = self._tokenizer.token_to_id(token) if token else None
        return found

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, in which special tokens such as ``<|im_end|>`` are recognized.

        What is no Unicode text, such as undecodable bytes of a command line, becomes "?".
        """
        clean = text.encode(errors="replace").decode()
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens; invalid UTF-8 becomes U+FFFD."""
        stream = TextStream(self)
        return "".join(stream.push(i) for i in ids) + stream.finish()

    def token_text(self, token: int) -> str:
        """The vocabulary's spelling of one token, special tokens included."""
        return self._tokenizer.id_to_token(token) or ""

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token stands for: none for a special or unknown token."""
        if token in self._special_ids:
            return b""
        text = self.token_text(token)
        if self._has_pieces:
            return _bytes_of_piece(text)
        try:
            return bytes(_BYTE_OF_CHARACTER[c] for c in text)
        except KeyError:  # an added token, spelled in plain text
            return text.encode()

    def render(self, messages: Sequence[Message], tools: Sequence[object] | None = None) -> str:
        """The conversation as the model was trained to see it, up to where it is to answer.

        Args:
            tools: functions that the model may ask for, in the form that its template takes,
                usually JSON schemas.

        Raises WebGPUError when the template, which is code of the model's maker, fails.
        """
        return self._rendered(messages, tools)

    def _rendered(
        self, messages: Sequence[Mapping[str, object]], tools: Sequence[object] | None
    ) -> str:
        try:
            text: str = self._template.render(
                messages=messages,
                tools=tools,
                add_generation_prompt=True,
                bos_token=self._config.get("bos_token", ""),
                eos_token=self._config.get("eos_token", ""),
            )
        except Exception as error:
            raise WebGPUError(f"the model's chat template fails: {error}") from error
        return text

    @cached_property
    def _has_pieces(self) -> bool:
        """SentencePiece's vocabulary: text, with a token for each byte that no text has."""
        return self._tokenizer.token_to_id("<0x0A>") is not None

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(i for i, token in added.items() if token.special)

    @cached_property
    def _template(self) -> jinja2.Template:
        from .templates import environment

        return environment().from_string(self._config["chat_template"])


class TextStream:
    """Turns tokens into text as they come, holding back bytes of an unfinished character."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that `token` completes; often "" in the middle of a character."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """U+FFFD when the stream ends inside a character, else ""."""
        return self._decoder.decode(b"", final=True)


class StopTexts:
    """Ends an answer at the first of some texts, and holds back what may become one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text for text in texts if text]
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """What can be shown now: all before a stop text."""
        self._held += text
        places = [at for stop in self._texts if (at := self._held.find(stop)) >= 0]
        self.found = bool(places)
        shown = min(places) if places else len(self._held) - self._pending()
        text, self._held = self._held[:shown], self._held[shown:]
        return text

    @property
    def held(self) -> str:
        """What has come and was not shown: what begins with a stop text, once one is found."""
        return self._held

    def finish(self) -> str:
        """What was held back for nothing."""
        return "" if self.found else self._held

    def _pending(self) -> int:
        """Characters at the end that a stop text begins with."""
        lengths = (
            length
            for stop in self._texts
            for length in range(min(len(stop) - 1, len(self._held)), 0, -1)
            if self._held.endswith(stop[:length])
        )
        return max(lengths, default=0)


def _bytes_of_piece(text: str) -> bytes:
    """What a token of SentencePiece stands for: "▁" is a space, "<0x0A>" a byte."""
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        with suppress(ValueError):
            return bytes([int(text[3:5], 16)])
    return text.replace("▁", " ").encode()


def _byte_characters() -> dict[str, int]:
    """The byte behind each character of a byte-level vocabulary.

    Printable Latin-1 bytes stand for themselves; the others are numbered from U+0100 on, so that no
    token holds a space or control character (the scheme of GPT-2's tokenizer).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    mapping = {chr(byte): byte for byte in printable}
    mapping.update({chr(0x100 + i): byte for i, byte in enumerate(others)})
    return mapping


_BYTE_OF_CHARACTER = _byte_characters()
