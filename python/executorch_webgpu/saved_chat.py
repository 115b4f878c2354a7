"""Conversations in files: what was said, and the tokens that it was read as, so that it goes on.

{"version": 1, "tokenizer": DIGEST, "messages": [{"role", "content"}], "text", "tokens": [ids]}

The key-value cache is not in it: that is made anew from the tokens, on any device, when the next
question is asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .chat import Conversation
from .errors import WebGPUError
from .files import check_place, write_atomically
from .tokenizer import ChatTokenizer, Message

_VERSION = 1
_LARGEST_FILE = 256 << 20  # bytes

# Their embeddings belong to one program, and the files they come from may change.
NO_PICTURES = "a conversation about pictures cannot be saved: leave out --save"


def check_can_save(path: Path) -> None:
    """Raise WebGPUError where no conversation can be saved, before one is had."""
    try:
        check_place(path)
    except OSError as error:
        raise _cannot_save(path, error) from error


def save(path: Path, conversation: Conversation, tokenizer: ChatTokenizer) -> None:
    """Write the conversation, whole or not at all. Raises WebGPUError where that cannot be."""
    messages, text, tokens = conversation.state()
    if any("pictures" in message for message in messages):
        raise WebGPUError(NO_PICTURES)
    content = {
        "version": _VERSION,
        "tokenizer": tokenizer.digest,
        "messages": messages,
        "text": text,
        "tokens": tokens,
    }
    try:
        with write_atomically(path) as file:
            file.write(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
    except OSError as error:
        raise _cannot_save(path, error) from error


def _cannot_save(path: Path, error: OSError) -> WebGPUError:
    return WebGPUError(f"the conversation cannot be saved in {path}: {error}")


def load(path: Path, conversation: Conversation, tokenizer: ChatTokenizer) -> None:
    """Go on with a saved conversation.

    Raises:
        WebGPUError: the file is missing, is not what it should be, or is of another tokenizer.
    """
    content = _read(path)
    if content.get("tokenizer") != tokenizer.digest:
        raise WebGPUError(f"the conversation in {path} was had with a model of another tokenizer")
    messages, text, tokens = _messages(content), content.get("text"), _tokens(content, tokenizer)
    if messages is None or not isinstance(text, str) or tokens is None:
        raise WebGPUError(f"{path} is no saved conversation: its messages or tokens are broken")
    conversation.restore(messages, text, tokens)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise WebGPUError(f"{path} is no saved conversation: it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WebGPUError(f"the conversation in {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise WebGPUError(f"{path} is no saved conversation: it is not JSON") from error
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise WebGPUError(f"{path} is no saved conversation of version {_VERSION}")
    return content


def _messages(content: dict[str, Any]) -> list[Message] | None:
    messages = content.get("messages")
    if not isinstance(messages, list):
        return None
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            return None
        if not all(isinstance(value, str) for value in message.values()):
            return None
    return [Message(role=message["role"], content=message["content"]) for message in messages]


def _tokens(content: dict[str, Any], tokenizer: ChatTokenizer) -> list[int] | None:
    tokens = content.get("tokens")
    if not isinstance(tokens, list):
        return None
    if not all(type(token) is int and 0 <= token < tokenizer.size for token in tokens):
        return None
    return tokens
