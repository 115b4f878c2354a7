"""A decoder that is more than one delegate, and what the native runtime answers with it in chat.

python mixed_run.py FOLDER, with tests/python among Python's paths

FOLDER gets mixed.pte (a Llama through export_llm and lower_program, whose cache of 8 bits lies
outside of delegates), a tokenizer in which each token is a word, and run.json:
{"questions": [...], "answers": [...], "tokens": of an answer}.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path

from executorch_webgpu.chat import Conversation
from executorch_webgpu.generate import LanguageModel, Sampler
from executorch_webgpu.tokenizer import CONFIG_FILE, TOKENIZER_FILE, ChatTokenizer
from support.export_llm import VOCABULARY, Form, lowered, make_checkpoint

# Of two letters, with the space before them.
WORDS = ["Ġ" + a + b for a in string.ascii_lowercase for b in string.ascii_lowercase][:VOCABULARY]
QUESTIONS = ("ab la ac do", "it is")
TOKENS = 12


def write_tokenizer(folder: Path) -> None:
    """A word is a token."""
    bytes_of_text = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    made = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {**bytes_of_text, "use_regex": True},
        "post_processor": None,
        "decoder": {**bytes_of_text, "use_regex": True},
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(WORDS)},
            "unk_token": WORDS[0],
        },
    }
    (folder / TOKENIZER_FILE).write_text(json.dumps(made))
    template = "{% for m in messages %} {{ m['content'] | trim }}{% endfor %}"
    (folder / CONFIG_FILE).write_text(json.dumps({"chat_template": template}))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = lowered(Form("4w", "8 bits", "any"), make_checkpoint(folder), folder)
    path = made.pte.rename(folder / "mixed.pte")
    write_tokenizer(folder)
    model = LanguageModel.load(path)
    conversation = Conversation(model, ChatTokenizer.load(folder), Sampler(), model.eos)
    answers = ["".join(conversation.ask(question, TOKENS)) for question in QUESTIONS]
    run = {"questions": QUESTIONS, "answers": answers, "tokens": TOKENS}
    (folder / "run.json").write_text(json.dumps(run))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
