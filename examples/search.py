"""Finds what is nearest in meaning: python search.py MODEL.pte TOKENIZER.json SENTENCES.txt QUERY.

The program gives a vector of length 1 for a sentence's tokens; export_minilm.py writes one."""

import sys
from pathlib import Path

import executorch_webgpu
import torch
from tokenizers import Tokenizer

program, words, sentences, query = sys.argv[1:]
model, tokenizer = executorch_webgpu.load(program), Tokenizer.from_file(words)
model.import_kernels()
tokenizer.no_padding()
lines = [query, *Path(sentences).read_text(encoding="utf-8").splitlines()]
texts = [torch.tensor([tokenizer.encode(line).ids]) for line in lines]
asked, *meanings = torch.cat([model.forward(text)[0] for text in texts])
scores = [float(asked @ meaning) for meaning in meanings]
for score, line in sorted(zip(scores, lines[1:], strict=True), reverse=True)[:5]:
    print(f"{score:6.3f}  {line}")
