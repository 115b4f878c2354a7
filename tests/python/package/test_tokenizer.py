"""The tokenizer against llama.cpp's reading of the same vocabulary, and streaming of text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from executorch_webgpu.decoders.sources import open_source
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.tokenizer import ChatTokenizer, TextStream
from hypothesis import given
from hypothesis import strategies as st

# Ids as llama.cpp's own tokenizer gives them for the same file.
KNOWN_IDS = [
    ("Hello, world!", [19556, 28, 905, 17]),
    (
        "  two  spaces\tand a tab\n\n\nand lines ",
        [216, 827, 216, 5600, 197, 397, 253, 10147, 1116, 198, 397, 3204, 216],
    ),
    (
        "In 1969, 3.14159 was 42% of 7,000,000.",
        [
            788,
            216,
            33,
            41,
            38,
            41,
            28,
            216,
            35,
            30,
            33,
            36,
            33,
            37,
            41,
            436,
            216,
            36,
            34,
            21,
            282,
            216,
            39,
            28,
            32,
            32,
            32,
            28,
            32,
            32,
            32,
            30,
        ],
    ),
    ("don't they'll I'M WE'RE", [12420, 982, 502, 3060, 339, 23, 61, 26587, 23, 3256]),
    (
        "Ünïcödé, 日本語のテキスト, русский, العربية, 👩\u200d👩\u200d👧\u200d👦 🎉",
        [
            142,
            246,
            94,
            25972,
            83,
            7466,
            84,
            2756,
            28,
            17097,
            241,
            115,
            40993,
            179,
            120,
            248,
            26453,
            11100,
            224,
            10391,
            251,
            10391,
            134,
            11100,
            226,
            28,
            216,
            9175,
            14714,
            9382,
            39511,
            7872,
            24958,
            28,
            27819,
            34966,
            20602,
            31462,
            23339,
            43463,
            28,
            15107,
            235,
            119,
            321,
            231,
            10813,
            235,
            119,
            321,
            231,
            10813,
            235,
            117,
            321,
            231,
            10813,
            235,
            116,
            15107,
            232,
            227,
        ],
    ),
    (
        "def f(x):\n    return {'a': [x ** 2, \"q\"]}  # ok\n",
        [
            1604,
            275,
            24,
            104,
            727,
            472,
            1003,
            7353,
            81,
            1539,
            933,
            104,
            1903,
            216,
            34,
            28,
            476,
            97,
            3222,
            109,
            216,
            907,
            10907,
            198,
        ],
    ),
    (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        [1, 4093, 198, 26843, 2, 198, 1, 520, 9531, 198],
    ),
]


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    tokenizer = open_source("smollm2", context=2).tokenizer
    assert tokenizer is not None
    return tokenizer


@pytest.mark.parametrize(("text", "ids"), KNOWN_IDS)
def test_known_ids(tokenizer: ChatTokenizer, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


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


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{% if %}", "{{ 1 / 0 }}"]
)
def test_a_template_that_fails(tokenizer: ChatTokenizer, tmp_path: Path, template: str) -> None:
    tokenizer.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "chat_template": template})
    )
    loaded = ChatTokenizer.load(tmp_path)
    with pytest.raises(WebGPUError, match="the model's chat template fails: "):
        loaded.render([{"role": "user", "content": "Hi"}])


def test_what_is_no_text_is_encoded_all_the_same(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.encode("a\udcffb") == tokenizer.encode("a?b")


def test_configuration_without_a_template(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    with pytest.raises(WebGPUError, match="no chat_template"):
        ChatTokenizer.load(tmp_path)


def test_templates_have_what_transformers_gives_them(tokenizer: ChatTokenizer) -> None:
    def rendered(template: str) -> str:
        made = ChatTokenizer(tokenizer._tokenizer, {"chat_template": template})
        return made.render([{"role": "user", "content": "é<&'"}])

    assert rendered("{{ messages[0].content | tojson }}") == '"é<&\'"'
    assert rendered("{{ [1] | tojson(indent=1, ensure_ascii=False) }}") == "[\n 1\n]"
    assert len(rendered("{{ strftime_now('%Y') }}")) == 4
    assert rendered("{% generation %}a{% endgeneration %}b") == "ab"
    assert rendered("{% for i in [1, 2] %}{{ i }}{% break %}{% endfor %}") == "1"
    with pytest.raises(WebGPUError, match="template fails: no such role$"):
        rendered("{{ raise_exception('no such\n role') }}")
