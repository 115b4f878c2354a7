"""Tokenizers of models: from a GGUF file's metadata, or from the files of a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

from ..errors import WebGPUError
from ..tokenizer import CONFIG_FILE, TOKENIZER_FILE, ChatTokenizer
from .folder import read_json

# Tokenizer, why there is none, the token that begins a text, and those that end an answer.
Tokens = tuple[ChatTokenizer | None, str, int | None, list[int]]

# GGUF's kinds of tokens.
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)

# How a text falls into pieces before bytes are joined to tokens, by `tokenizer.ggml.pre`. Letters,
# numbers, other signs and spaces each stay together; what differs is how many digits do, which
# signs go with the letters behind them, and English contractions.
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SIGNS_AND_SPACES = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"


def _split_by(digits: str) -> str:
    return f"{_CONTRACTION}|{_WORDS}|{digits}|{_SIGNS_AND_SPACES}"


def _split_by_case(digits: str, ending: str) -> str:
    """Words end where a capital follows a small letter; signs may end in slashes."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    lead, signs = r"[^\r\n\p{L}\p{N}]?", _SIGNS_AND_SPACES.replace(r"[\r\n]*", r"[\r\n/]*")
    words = f"{lead}{upper}*{lower}+{ending}|{lead}{upper}+{lower}*{ending}"
    return f"{words}|{digits}|{signs}"


_SPLITS: dict[str, str] = {
    "llama-bpe": _split_by(r"\p{N}{1,3}"),
    "llama3": _split_by(r"\p{N}{1,3}"),
    "smaug-bpe": _split_by(r"\p{N}{1,3}"),
    "dbrx": _split_by(r"\p{N}{1,3}"),
    "qwen2": _split_by(r"\p{N}"),
    "gpt-4o": _split_by_case(r"\p{N}{1,3}", f"{_CONTRACTION}?"),
    "tekken": _split_by_case(r"\p{N}", ""),
}
# GPT-2's own rule, and the same after each digit has become a piece.
_PLAIN = {"default", "gpt-2", "gpt2", "olmo", "phi-2", "mpt", "dolly"}
_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "granite"}


def tokenizer_of_gguf(where: str, metadata: Mapping[str, Any]) -> Tokens:
    """From the metadata of a GGUF file. A damaged vocabulary raises WebGPUError."""
    bos = _token(metadata, "bos")
    eos = [_token(metadata, name) for name in ("eos", "eot", "eom")]
    ends = list(dict.fromkeys(token for token in eos if token is not None))
    kind = metadata.get("tokenizer.ggml.model")
    make = {"gpt2": _bytes_joined, "llama": _pieces_joined}.get(str(kind))
    if make is None:
        return None, f"its tokenizer ({kind!r}) is none that can be written down", bos, ends
    vocabulary = _Vocabulary(where, metadata)
    tokenizer = make(vocabulary)
    if tokenizer is None:
        pre = metadata.get("tokenizer.ggml.pre")
        return None, f"how its tokenizer splits text ({pre!r}) is not known here", bos, ends
    tokenizer.add_special_tokens(vocabulary.added(_CONTROL, special=True))
    # A user's tokens are text like any other, but never fall into pieces.
    tokenizer.add_tokens(vocabulary.added(_USER, normalized=kind == "llama"))
    config = {
        name: vocabulary.tokens[token]
        for name, token in (("bos_token", bos), ("eos_token", ends[0] if ends else None))
        if token is not None and token < len(vocabulary.tokens)
    }
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        config["chat_template"] = template
    return ChatTokenizer(tokenizer, config), "", bos, ends


def tokenizer_of_folder(path: Path, eos: list[int]) -> Tokens:
    """From tokenizer.json, tokenizer_config.json and chat_template.jinja of a folder."""
    if not (path / TOKENIZER_FILE).is_file():
        return None, f"{path} has no {TOKENIZER_FILE}", None, eos
    try:
        tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
    except Exception as error:  # tokenizers raises bare Exception
        raise WebGPUError(f"cannot read {path / TOKENIZER_FILE}: {error}") from error
    config = read_json(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else {}
    for name in ("bos_token", "eos_token"):
        if isinstance(config.get(name), dict):
            config[name] = config[name].get("content")
        if not isinstance(config.get(name), str):
            config.pop(name, None)
    separate = path / "chat_template.jinja"
    if separate.is_file():
        config["chat_template"] = separate.read_text(encoding="utf-8", errors="replace")
    elif isinstance(config.get("chat_template"), list):
        config["chat_template"] = _default_template(config["chat_template"])
    if not isinstance(config.get("chat_template"), str):
        config.pop("chat_template", None)
    bos = tokenizer.token_to_id(config["bos_token"]) if "bos_token" in config else None
    if not eos and "eos_token" in config:
        eos = [token for token in [tokenizer.token_to_id(config["eos_token"])] if token is not None]
    return ChatTokenizer(tokenizer, config), "", bos, eos


def _default_template(named: Sequence[Any]) -> str | None:
    """Of several templates, the one called "default"."""
    entries = [entry for entry in named if isinstance(entry, dict)]
    found = [e.get("template") for e in entries if e.get("name") == "default"]
    return found[0] if found else None


def _token(metadata: Mapping[str, Any], name: str) -> int | None:
    token = metadata.get(f"tokenizer.ggml.{name}_token_id")
    return token if isinstance(token, int) and token >= 0 else None


class _Vocabulary:
    """The lists of a GGUF file's tokenizer."""

    def __init__(self, where: str, metadata: Mapping[str, Any]) -> None:
        self.where, self._metadata = where, metadata
        self.tokens = self._strings("tokens")
        self.kinds = metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(self.tokens)
        if len(self.kinds) != len(self.tokens):
            raise WebGPUError(f"{where}: {len(self.tokens)} tokens have {len(self.kinds)} types")
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.pre = str(metadata.get("tokenizer.ggml.pre", "default"))

    def merges(self) -> list[tuple[str, str]]:
        pairs = [tuple(merge.split(" ", 1)) for merge in self._strings("merges")]
        for pair in pairs:
            if len(pair) != 2 or not {*pair, "".join(pair)} <= self.ids.keys():
                raise WebGPUError(f"{self.where}: the merge {' '.join(pair)!r} is of no tokens")
        return pairs  # type: ignore[return-value]

    def scores(self) -> list[float]:
        scores = self._metadata.get("tokenizer.ggml.scores")
        if not isinstance(scores, list) or len(scores) != len(self.tokens):
            raise WebGPUError(f"{self.where}: its tokens have no scores")
        return scores

    def flag(self, name: str, default: bool) -> bool:
        return bool(self._metadata.get(f"tokenizer.ggml.{name}", default))

    def unknown(self) -> str | None:
        token = _token(self._metadata, "unknown")
        return self.tokens[token] if token is not None and token < len(self.tokens) else None

    def added(self, kind: int, special: bool = False, normalized: bool = False) -> list[AddedToken]:
        """Tokens of a kind, which are found in a text before it is split."""
        return [
            AddedToken(token, special=special, normalized=normalized)
            for token, its in zip(self.tokens, self.kinds, strict=True)
            if its == kind
        ]

    def _strings(self, name: str) -> list[str]:
        value = self._metadata.get(f"tokenizer.ggml.{name}")
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            raise WebGPUError(f"{self.where} has no field tokenizer.ggml.{name}")
        return value


def _bytes_joined(vocabulary: _Vocabulary) -> Tokenizer | None:
    """Byte-level BPE."""
    pieces: list[pre_tokenizers.PreTokenizer]
    if vocabulary.pre in _SPLITS:
        split = Regex(_SPLITS[vocabulary.pre])
        pieces = [pre_tokenizers.Split(split, "isolated")]
    elif vocabulary.pre in _DIGITS:
        pieces = [pre_tokenizers.Digits(individual_digits=True)]
    elif vocabulary.pre in _PLAIN:
        pieces = []
    else:
        return None
    own_rule = vocabulary.pre not in _SPLITS
    pieces.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own_rule))
    # Llama 3 takes a piece that is a token as it is, without joining its bytes.
    whole = vocabulary.pre in ("llama-bpe", "llama3")
    tokenizer = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merges(), ignore_merges=whole))
    if vocabulary.pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces_joined(vocabulary: _Vocabulary) -> Tokenizer:
    """SentencePiece's BPE: of two neighbours, those are joined whose token has the best score."""
    scores, ids = vocabulary.scores(), vocabulary.ids
    ranked: list[tuple[float, int, int, str, str]] = []
    for token, index in ids.items():
        if vocabulary.kinds[index] not in (_NORMAL, _USER):
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                ranked.append((-scores[index], ids[left], ids[right], left, right))
    ranked.sort()
    merges = [(left, right) for *_, left, right in ranked]
    unknown = vocabulary.unknown()
    tokenizer = Tokenizer(
        models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    space = normalizers.Replace(" ", "▁")
    first = [normalizers.Prepend("▁")] if vocabulary.flag("add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*first, space])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer
