"""Tokenizers from GGUF files and folders."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from executorch_webgpu.decoders.vocabulary import tokenizer_of_folder, tokenizer_of_gguf
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.tokenizer import ChatTokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces\tand a tab\n\n\nand lines ",
    "In 1969, 3.14159 was 42% of 7,000,000.",
    "don't they'll I'M WE'RE",
    "Ünïcödé, 日本語, русский, 👩‍👧 🎉",
    "def f(x):\n    return {'a': [x ** 2]}  # ok\n",
    "",
]
CORPUS = [*TEXTS, *(f"{i} times {i} is {i * i}, the quick answer" for i in range(80))] * 3
TEMPLATE = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"


def metadata(kind: str, **values: Any) -> dict[str, Any]:
    fields = {f"tokenizer.ggml.{name}": value for name, value in values.items()}
    return {"tokenizer.ggml.model": kind, **fields}


@pytest.fixture(scope="module")
def pieces() -> sentencepiece.SentencePieceProcessor:
    """A small vocabulary of SentencePiece's own trainer, as Llama 2's and Gemma's are made."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def gguf_of(pieces: sentencepiece.SentencePieceProcessor, **values: Any) -> dict[str, Any]:
    ids = range(pieces.get_piece_size())
    kinds = [
        2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
        for i in ids
    ]
    return metadata(
        "llama",
        tokens=[pieces.id_to_piece(i) for i in ids],
        scores=[pieces.get_score(i) for i in ids],
        token_type=kinds,
        unknown_token_id=pieces.unk_id(),
        bos_token_id=pieces.bos_id(),
        eos_token_id=pieces.eos_id(),
        **values,
    )


def test_pieces_are_sentencepieces(pieces: sentencepiece.SentencePieceProcessor) -> None:
    tokenizer, _, bos, eos = tokenizer_of_gguf("file", gguf_of(pieces))
    assert tokenizer is not None and bos == pieces.bos_id() and eos == [pieces.eos_id()]
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids == pieces.encode(text), text
        assert tokenizer.decode(ids) == (f" {text}" if text else "")
    assert tokenizer.decode(tokenizer.encode("</s>")) == ""


def test_gemmas_pieces_begin_without_a_space(pieces: sentencepiece.SentencePieceProcessor) -> None:
    found = gguf_of(pieces, add_space_prefix=False)
    tokens = found["tokenizer.ggml.tokens"]
    tokens.append("▁▁▁▁")
    found["tokenizer.ggml.scores"].append(-1000.0)
    found["tokenizer.ggml.token_type"].append(4)
    tokenizer, *_ = tokenizer_of_gguf("file", found)
    assert tokenizer is not None
    assert tokenizer.encode("a    b") == [tokens.index("a"), len(tokens) - 1, tokens.index("b")]
    assert tokenizer.decode(tokenizer.encode("a    b")) == "a    b"


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    """A small byte-level vocabulary: of bytes, joined by the counts in a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|user|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return metadata(
        "gpt2",
        tokens=tokens,
        merges=[" ".join(merge) for merge in model["merges"]],
        token_type=[3 if token in special else 1 for token in tokens],
        bos_token_id=0,
        eos_token_id=0,
        eot_token_id=1,
        pre="gpt-2",
    )


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "gpt-4o", "tekken"])
def test_bytes_come_back(merged: dict[str, Any], pre: str) -> None:
    tokenizer, _, bos, eos = tokenizer_of_gguf("file", {**merged, "tokenizer.ggml.pre": pre})
    assert tokenizer is not None and bos == 0 and eos == [0, 1]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<|user|>") == [1]


TEXT = "I said 12345, don't SHOUT:\n\ncamelCase"
SPLITS = {
    "gpt-2": "I| said| 12345|,| don|'t| SHOUT|:|\n|\n|camelCase",
    "smollm": "I| said| |1|2|3|4|5|,| don|'t| SHOUT|:|\n|\n|camelCase",
    "llama-bpe": "I| said| |123|45|,| don|'t| SHOUT|:\n\n|camelCase",
    "qwen2": "I| said| |1|2|3|4|5|,| don|'t| SHOUT|:\n\n|camelCase",
    "gpt-4o": "I| said| |123|45|,| don't| SHOUT|:\n\n|camel|Case",
    "tekken": "I| said| |1|2|3|4|5|,| don|'t| SHOUT|:\n\n|camel|Case",
}


@pytest.mark.parametrize("pre", SPLITS)
def test_texts_fall_into_the_pieces_of_each_kind(merged: dict[str, Any], pre: str) -> None:
    tokenizer, *_ = tokenizer_of_gguf("file", {**merged, "tokenizer.ggml.pre": pre})
    assert tokenizer is not None
    split = tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)
    back = decoders.ByteLevel()
    assert "|".join(back.decode([piece]) for piece, _ in split) == SPLITS[pre]


def test_unknown_kinds_are_told_and_left_out(merged: dict[str, Any]) -> None:
    for changed, says in (
        ({"tokenizer.ggml.model": "t5"}, "'t5'"),
        ({"tokenizer.ggml.pre": "of tomorrow"}, "'of tomorrow'"),
    ):
        tokenizer, reason, _, eos = tokenizer_of_gguf("file", {**merged, **changed})
        assert tokenizer is None and says in reason and eos == [0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": "x"}, "has no field tokenizer.ggml.tokens"),
        ({"tokens": [1, 2]}, "has no field tokenizer.ggml.tokens"),
        ({"token_type": [1, 2]}, "tokens have 2 types"),
        ({"merges": ["nosuch token"]}, "the merge 'nosuch token' is of no tokens"),
        ({"merges": ["lonely"]}, "the merge 'lonely' is of no tokens"),
    ],
)
def test_damaged_vocabularies_end_in_a_sentence(
    merged: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    damaged = {**merged, **{f"tokenizer.ggml.{name}": value for name, value in changes.items()}}
    with pytest.raises(WebGPUError, match=says):
        tokenizer_of_gguf("file", damaged)


def test_missing_scores_end_in_a_sentence(pieces: sentencepiece.SentencePieceProcessor) -> None:
    found = gguf_of(pieces)
    found["tokenizer.ggml.scores"] = found["tokenizer.ggml.scores"][:5]
    with pytest.raises(WebGPUError, match="its tokens have no scores"):
        tokenizer_of_gguf("file", found)


def test_folders_template_may_be_a_file_of_its_own(merged: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, *_ = tokenizer_of_gguf("file", merged)
    assert tokenizer is not None
    source = tmp_path / "source"
    tokenizer.save(source)
    config = {"bos_token": {"content": "<|end|>"}, "eos_token": "<|end|>", "unknown": 1}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (source / "chat_template.jinja").write_text(TEMPLATE)
    found, _, bos, eos = tokenizer_of_folder(source, [])
    assert found is not None and bos == 0 and eos == [0]
    found.save(tmp_path / "written")
    again = ChatTokenizer.load(tmp_path / "written")
    assert again.render([{"role": "user", "content": "Hi"}]) == "<|end|><|user|>Hi"


def test_of_several_templates_the_default_is_taken(merged: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, *_ = tokenizer_of_gguf("file", merged)
    assert tokenizer is not None
    tokenizer.save(tmp_path)
    named = [{"name": "tool", "template": "no"}, {"name": "default", "template": TEMPLATE}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    found, *_ = tokenizer_of_folder(tmp_path, [])
    assert found is not None
    assert found.render([{"role": "user", "content": "Hi"}]) == "<|user|>Hi"
