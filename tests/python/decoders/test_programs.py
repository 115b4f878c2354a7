"""Decoders through the exporter and the runtime, against the eager definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from executorch_webgpu.cli import app
from executorch_webgpu.decoders.export import Recipe, _conversation
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.generate import LanguageModel
from executorch_webgpu.runtime import inspect
from executorch_webgpu.tokenizer import ChatTokenizer
from gguf import GGMLQuantizationType as Type
from support.decoder_programs import compare_with_eager
from support.decoders import VOCABULARY, tiny, write_gguf
from typer.testing import CliRunner

TOLERANCE = 1e-4

runner = CliRunner()


def test_caps_and_windows_run_in_one_delegate(tmp_path: Path) -> None:
    """Gemma 2 in floats: attention whose scores are capped is products and a softmax."""
    tiny("gemma2", num_hidden_layers=2).save_pretrained(tmp_path)
    compare_with_eager(tmp_path, Recipe(64, bits=32), TOLERANCE)


def vocabulary(writer: gguf.GGUFWriter) -> None:
    """A byte-level vocabulary of one merge: every byte that is a sign is a token."""
    letters = [chr(code) for code in range(0x21, 0x7F)]
    tokens = ["<pad>", "<s>", "<end>", "Ġ", "Ċ", "Hi", *letters]
    tokens += [f"<{i}>" for i in range(VOCABULARY - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["H i"])
    writer.add_token_types([3] * 3 + [1] * (VOCABULARY - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}<s>{{ m.content }}<end>{% endfor %}<s>")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Qwen 3 from a Q4_0 file by the command, and what that said."""
    folder = tmp_path_factory.mktemp("exported")
    types = {"_norm.weight": Type.F32, ".weight": Type.Q4_0}
    write_gguf(folder / "qwen.gguf", tiny("qwen3", num_hidden_layers=2), types, vocabulary)
    target = folder / "out" / "qwen.pte"
    result = runner.invoke(
        app, ["export", str(folder / "qwen.gguf"), "-o", str(target), "--context", "64"]
    )
    assert result.exit_code == 0, result.output
    return target, result.stderr


def test_command_exports_a_q4_0_file_as_it_is(exported: tuple[Path, str]) -> None:
    path, said = exported
    assert "16 tensors of Q4_0: 4 bits in groups of 32, exact" in said
    compare_with_eager(path.parent.parent / "qwen.gguf", Recipe(64), TOLERANCE, path)
    (method,) = inspect(path)["methods"]
    calls = [call["name"] for call in method["delegates"][0]["graph"]["calls"]]
    assert calls.count("et_vk.linear_q4gsw.default") == 2 * 7 + 1
    for name in ("sdpa_with_kv_cache", "et_vk.apply_rotary_emb"):
        assert calls.count(f"{name}.default") == 2
    assert calls.count("et_vk.rms_norm.default") == 2 * 4 + 1


def test_exported_model_has_its_tokens_and_chats(exported: tuple[Path, str]) -> None:
    path, _ = exported
    model, tokenizer = LanguageModel.load(path), ChatTokenizer.load(path.parent)
    assert model.eos == {2} and model.context == 64
    assert tokenizer.encode("<s>Hi!<end>") == [1, 5, 6, 2]
    assert tokenizer.render([{"role": "user", "content": "Hi"}]) == "<s>Hi<end><s>"
    result = runner.invoke(app, ["chat", str(path), "--prompt", "Hi!", "--max-tokens", "5"])
    assert result.exit_code == 0 and result.stdout.strip(), result.output


def test_command_says_what_cannot_be_exported(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for source, says in (("model.gguf", "cut off"), ("none.gguf", "no such file or folder")):
        result = runner.invoke(
            app, ["export", str(tmp_path / source), "-o", str(tmp_path / "x.pte")]
        )
        assert result.exit_code == 1 and says in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "x.pte").exists()


class FailingTemplate:
    has_template = True

    def render(self, messages: list[Any]) -> str:
        raise WebGPUError("the model's chat template fails: roles must alternate")

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


def test_calibration_does_without_a_template_that_fails() -> None:
    tokens = _conversation(FailingTemplate(), "Why?", "Because.")  # type: ignore[arg-type]
    assert bytes(tokens) == b"Why?\n\nBecause.\n"


def test_export_takes_no_other_models_tokenizer_away(
    exported: tuple[Path, str], tmp_path: Path
) -> None:
    path, _ = exported
    before = (path.parent / "tokenizer.json").read_bytes()

    def other(writer: gguf.GGUFWriter, eos: int = 2) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(["a", "b", "ab", *(f"<{i}>" for i in range(VOCABULARY - 3))])
        writer.add_token_merges(["a b"])
        writer.add_token_types([1] * VOCABULARY)
        writer.add_eos_token_id(eos)

    def said(source: Path, target: Path) -> str:
        result = runner.invoke(app, ["export", str(source), "-o", str(target), "--context", "64"])
        assert result.exit_code == 1 and not target.exists(), result.output
        return str(result.stderr)

    types = {"_norm.weight": Type.F32, ".weight": Type.Q4_0}
    model = tiny("qwen3", num_hidden_layers=1)
    write_gguf(tmp_path / "other.gguf", model, types, other)
    sentence = said(tmp_path / "other.gguf", path.parent / "other.pte")
    assert "tokenizer.json is another model's tokenizer" in sentence
    assert (path.parent / "tokenizer.json").read_bytes() == before

    write_gguf(tmp_path / "ends.gguf", model, types, lambda w: other(w, eos=10**6))
    assert "end with token 1000000, but there are" in said(
        tmp_path / "ends.gguf", tmp_path / "e.pte"
    )

    model.save_pretrained(tmp_path / "folder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "folder" / name).write_bytes((path.parent / name).read_bytes())
    sentence = said(tmp_path / "folder", tmp_path / "folder" / "model.pte")
    assert "would take the place of the model's own" in sentence
