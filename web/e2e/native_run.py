"""What the native runtime answers with SmolLM2, for a page to be compared with.

python native_run.py FOLDER

FOLDER gets run.json, {"program": its path, "prompt": tokens, "tokens": the likeliest ones after it,
"kept": steps}, and logits.bin: float32 [len(kept), V], from which the tokens of these steps came.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from executorch_webgpu.files import cached_smollm2
from executorch_webgpu.generate import LanguageModel
from executorch_webgpu.tokenizer import ChatTokenizer

QUESTION = "Explain in a few sentences why the sky is blue."
STEPS = 128
KEPT = (0, 1, 31, 63, 127)


def main(folder: Path) -> None:
    program = cached_smollm2()
    model = LanguageModel.load(program)
    tokenizer = ChatTokenizer.load(program.parent)
    prompt = tokenizer.encode(tokenizer.render([{"role": "user", "content": QUESTION}]))
    logits = model(prompt, 0)
    tokens: list[int] = []
    kept = []
    for step in range(STEPS):
        if step in KEPT:
            kept.append(np.array(logits, np.float32))
        tokens.append(int(logits.argmax()))
        logits = model(tokens[-1:], len(prompt) + step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "logits.bin").write_bytes(np.stack(kept).tobytes())
    run = {"program": str(program), "prompt": prompt, "tokens": tokens, "kept": KEPT}
    (folder / "run.json").write_text(json.dumps(run))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
