"""Greedy tokens of a GGUF file: this package's definition beside llama.cpp's CPU build.

    npm install --prefix /tmp/llama node-llama-cpp     # prebuilt, 700 MB
    python benchmarks/against_llama_cpp.py model-q4_0.gguf --node /tmp/llama

llama.cpp multiplies 4-bit weights by activations that it rounds to 8 bits. So it also runs the same
numbers written as F32, where both sides have float32 activations: there, tokens are to be the same.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import gguf
import numpy as np
import torch
import typer
from executorch_webgpu.decoders.export import Recipe, build
from executorch_webgpu.decoders.sources import Source, open_source
from executorch_webgpu.decoders.transformer import Transformer

CONTEXT = 512
QUESTIONS = [
    "What is the capital of France?",
    "Write a Python function that sorts a list.",
    "Tell me about the sea.",
    "Who was Ada Lovelace?",
]

_SCRIPT = """
import {getLlama} from "node-llama-cpp";
const [file, prompts, count] = process.argv.slice(2);
const options = {gpu: false, build: "never", skipDownload: true, logLevel: "error"};
const model = await (await getLlama(options)).loadModel({modelPath: file});
const answers = [];
for (const prompt of JSON.parse(prompts)) {
  const context = await model.createContext({contextSize: 512, threads: 1, flashAttention: false});
  const tokens = [];
  const stream = context.getSequence().evaluate(prompt, {temperature: 0, yieldEogToken: true});
  for await (const token of stream) if (tokens.push(token) >= Number(count)) break;
  answers.push(tokens);
  await context.dispose();
}
console.log(JSON.stringify(answers));
process.exit(0);
"""


def llama_cpp(node: Path, file: Path, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Its tokens after each of the prompts."""
    script = node / "tokens.mjs"
    script.write_text(_SCRIPT)
    arguments = [str(file.resolve()), json.dumps(prompts), str(count)]
    command = ["node", script.name, *arguments]
    out = subprocess.run(command, cwd=node, capture_output=True, text=True, check=True).stdout
    answers: list[list[int]] = json.loads(out.strip().splitlines()[-1])
    return answers


def write_floats(source: Path, target: Path) -> None:
    """The same file with every tensor as F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        sub = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.asarray(floats, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def ours(model: Transformer, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
    """The likeliest tokens, and by how much each of them was."""
    logits, position = model(torch.tensor([prompt]), torch.tensor([0])), len(prompt)
    tokens: list[int] = []
    margins: list[float] = []
    while len(tokens) < count:
        best = logits[0].topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        logits = model(torch.tensor([tokens[-1:]]), torch.tensor([position]))
        position += 1
    return tokens, margins


def prompts_of(source: Source) -> list[list[int]]:
    tokenizer = source.tokenizer
    if tokenizer is None:
        raise SystemExit(source.no_tokenizer)
    return [
        tokenizer.encode(tokenizer.render([{"role": "user", "content": question}]))
        for question in QUESTIONS
    ]


def main(
    file: Annotated[Path, typer.Argument(help="A GGUF file.")],
    node: Annotated[Path, typer.Option(help="Where node-llama-cpp is installed.")],
    count: Annotated[int, typer.Option(help="Tokens of each answer.")] = 64,
) -> None:
    """Print for how many tokens both agree, and by how much ours was the likeliest after those."""
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder, "floats.gguf")
        write_floats(file, floats)
        source = open_source(str(floats), CONTEXT)
        prompts = prompts_of(source)
        model, _ = build(source, Recipe(CONTEXT, bits=32), lambda *_: None)
        answers = {
            "as it is": llama_cpp(node, file, prompts, count),
            "as F32": llama_cpp(node, floats, prompts, count),
        }
        for i, prompt in enumerate(prompts):
            tokens, margins = ours(model, prompt, count)
            for how, theirs in answers.items():
                pairs = enumerate(zip(tokens, theirs[i], strict=False))
                same = next((at for at, (a, b) in pairs if a != b), len(theirs[i]))
                margin = f", then by {margins[same]:.3f}" if same < len(theirs[i]) else ""
                print(f"{QUESTIONS[i]:45} {how:9} {same} of {len(theirs[i])}{margin}", flush=True)


if __name__ == "__main__":
    typer.run(main)
