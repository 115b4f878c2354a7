"""A tiny Idefics3, which SmolVLM is in all but its name, and a program of its parts.

The parts are named, and take and give, what ExecuTorch's runner of such programs expects.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from executorch_webgpu.lowering import lower_program, quiet_upstream
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from . import export as _faster_lowering  # noqa: F401  caches the partitioner's pattern graphs
from .decoders import transformers

SIDE = 32  # pixels of a picture
ROWS = 4  # that a picture becomes
WIDTH = 64  # of embeddings
CONTEXT = 160
LONGEST_CALL = 24

_SPECIAL = ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>")
IMAGE = "<image>"
# SmolVLM's own.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """A token for every byte, and SmolVLM's special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in (*_SPECIAL, IMAGE)]
    )
    return tokenizer


def tiny_idefics3(tokenizer: Tokenizer) -> transformers.Idefics3ForConditionalGeneration:
    """With seeded weights such that pictures change what is said."""
    config = transformers.Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": CONTEXT,
            "bos_token_id": tokenizer.token_to_id("<|im_start|>"),
            "eos_token_id": tokenizer.token_to_id("<end_of_utterance>"),
            "pad_token_id": 0,
        },
        scale_factor=2,
        image_token_id=tokenizer.token_to_id(IMAGE),
    )
    torch.manual_seed(5)
    model = transformers.Idefics3ForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * (0.1 if parameter.ndim > 1 else 0.2))
    return model.requires_grad_(False)


class _Vision(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision, self.connector = model.vision_model, model.connector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.connector(self.vision(pixels).last_hidden_state)


class _Decoder(torch.nn.Module):
    """Over embeddings, with a cache that is written from the first of their positions on."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.output = model.model.text_model, model.lm_head
        config = model.config.text_config
        self.cache = transformers.StaticCache(config=config, max_cache_len=CONTEXT)
        self.cache.early_initialization(
            1, config.num_key_value_heads, config.head_dim, torch.float32, torch.device("cpu")
        )
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"keys_{i}", layer.keys)
            self.register_buffer(f"values_{i}", layer.values)

    def forward(self, embeddings: Tensor, position: Tensor) -> Tensor:
        # torch.export sees a write to what it knows as a buffer of this module.
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = self.get_buffer(f"keys_{i}"), self.get_buffer(f"values_{i}")
            layer.cumulative_length = position[0].clone()
        states = self.text(inputs_embeds=embeddings, cache=self.cache, use_cache=True)
        return self.output(states[0])


def exported(model: Any, *, sees: bool = True) -> dict[str, torch.export.ExportedProgram]:
    """The methods of the program.

    Args:
        sees: with a vision part, and a position for each row; else with that of the first.
    """
    rows = torch.export.Dim("rows", min=1, max=LONGEST_CALL)
    tokens, embeddings = torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, WIDTH)
    position = torch.arange(3 if sees else 1)
    inner = model.model
    methods = {
        "vision_encoder": (_Vision(inner), (torch.zeros(1, 3, SIDE, SIDE),), None),
        "token_embedding": (inner.get_input_embeddings(), (tokens,), ({1: rows},)),
        "text_decoder": (
            _Decoder(model),
            (embeddings, position),
            ({1: rows}, {0: rows} if sees else None),
        ),
    }
    if not sees:
        del methods["vision_encoder"]
    return {
        name: torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
        for name, (module, inputs, shapes) in methods.items()
    }


def write_program(path: Path, model: Any, tokenizer: Tokenizer, *, sees: bool = True) -> Path:
    """A program with its tokenizer beside it; `sees` as in `exported`."""
    constants = {
        "get_max_context_len": CONTEXT,
        "get_vocab_size": tokenizer.get_vocab_size(),
        "get_bos_id": tokenizer.token_to_id("<|im_start|>"),
        "get_eos_ids": [tokenizer.token_to_id("<end_of_utterance>")],
        "image_token_id": tokenizer.token_to_id(IMAGE),
    }
    options = {"require_dynamic_shapes": True}
    with quiet_upstream(), torch.no_grad():
        program = lower_program(exported(model, sees=sees), options, constants)
    path.write_bytes(program.buffer)
    write_tokenizer(path.parent, tokenizer)
    return path


def write_tokenizer(folder: Path, tokenizer: Tokenizer, template: str = TEMPLATE) -> None:
    """The files beside a program."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": template, "eos_token": "<end_of_utterance>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def generate(model: Any, tokens: Sequence[int], pixels: Sequence[Tensor], count: int) -> list[int]:
    """transformers' own greedy tokens after a prompt, past the end of its answer if need be.

    Args:
        tokens: with `ROWS` of the picture's token for each picture.
        pixels: of the pictures [3, SIDE, SIDE].
    """
    ids = torch.tensor([tokens])
    seen = {"pixel_values": torch.stack(tuple(pixels))[None]} if pixels else {}
    model.generation_config.eos_token_id = None
    made: Tensor = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        **seen,
    )
    return made[0, len(tokens) :].tolist()
