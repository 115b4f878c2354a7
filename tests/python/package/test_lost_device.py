"""A language model whose device is lost again and again gives the same tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from executorch_webgpu.chat import Conversation
from executorch_webgpu.generate import LanguageModel, Sampler
from executorch_webgpu.tokenizer import ChatTokenizer
from pathlib import Path
path, greedy = Path(sys.argv[1]), sys.argv[2] == "greedy"
model = LanguageModel.load(path)
conversation = Conversation(
    model, ChatTokenizer.load(path.parent), Sampler(0.0 if greedy else 1.0, seed=3), model.eos,
    continue_greedily=model.continue_greedily if greedy else None,
)
print(json.dumps("".join(conversation.ask("Name three colours.", 24))))
"""


@pytest.mark.parametrize("choice", ["greedy", "sampled"])
def test_an_answer_survives_lost_devices(smollm2: Path, choice: str) -> None:
    def answer(lose_every: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(smollm2), choice],
            env={**os.environ, "ETWEBGPU_LOSE_DEVICE": lose_every},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        text: str = json.loads(done.stdout)
        return text

    undisturbed = answer("0")
    assert len(undisturbed) > 20
    assert answer("10") == undisturbed
