"""Models that people bring: the classes of torchvision and transformers, and some of a kind.

Weights are seeded, not trained: what is compared is the same computation. Sizes are those of the
real models where these run in seconds, else fewer layers of the real widths.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

try:
    import torchvision
except ModuleNotFoundError:  # only ./dev test-models needs it
    pass
except RuntimeError:  # built for another torch than the CPU's: its own operators are not there
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
import transformers
from transformers.cache_utils import DynamicCache, EncoderDecoderCache, StaticCache

Made = tuple[nn.Module, tuple[Tensor, ...]]

warnings.filterwarnings("ignore")


def _image(batch: int = 1, size: int = 224) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 3, size, size),)


def _vision(name: str, **options: Any) -> Callable[[int], Made]:
    def make(batch: int) -> Made:
        return getattr(torchvision.models, name)(weights=None, **options), _image(batch)

    return make


class First(nn.Module):
    """The first output of a model of transformers, of its inputs by name."""

    def __init__(self, model: nn.Module, *names: str, **fixed: Any) -> None:
        super().__init__()
        self.model, self.names, self.fixed = model, names, fixed

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        return self.model(**given, **self.fixed, return_dict=False)[0]


def _tokens(batch: int, length: int, vocabulary: int = 1000) -> tuple[Tensor, ...]:
    tokens = torch.randint(0, vocabulary, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, length * 3 // 4 :] = 0
    return tokens, mask


def bert(batch: int) -> Made:
    config = transformers.BertConfig(num_hidden_layers=3, vocab_size=1000)
    model = transformers.BertModel(config, add_pooling_layer=False)
    return First(model, "input_ids", "attention_mask"), _tokens(batch, 48)


def clip_text(batch: int) -> Made:
    config = transformers.CLIPTextConfig(num_hidden_layers=3, vocab_size=1000, eos_token_id=999)
    return First(transformers.CLIPTextModel(config), "input_ids"), _tokens(batch, 32)[:1]


def clip_image(batch: int) -> Made:
    config = transformers.CLIPVisionConfig(num_hidden_layers=3)
    return First(transformers.CLIPVisionModel(config), "pixel_values"), _image(batch)


def clip(batch: int) -> Made:
    """Both towers: how well each text fits each image."""
    config = transformers.CLIPConfig(
        text_config={"num_hidden_layers": 2, "vocab_size": 1000, "eos_token_id": 999},
        vision_config={"num_hidden_layers": 2},
    )
    tokens, mask = _tokens(batch, 16)
    model = First(transformers.CLIPModel(config), "input_ids", "pixel_values", "attention_mask")
    return model, (tokens, *_image(batch), mask)


def vit_tiny(batch: int) -> Made:
    config = transformers.ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768
    )
    return First(transformers.ViTModel(config), "pixel_values"), _image(batch)


def segformer(batch: int) -> Made:
    model = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig())
    return First(model, "pixel_values"), _image(batch, 128)


def whisper_encoder(batch: int) -> Made:
    config = transformers.WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        max_source_positions=300,
    )
    model = transformers.models.whisper.modeling_whisper.WhisperEncoder(config)
    return First(model, "input_features"), (torch.randn(batch, 80, 600),)


class WhisperStep(nn.Module):
    """A token more of a text: Whisper's decoder over its cache, with the encoder's output."""

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__()
        self.decoder, self.project = model.model.decoder, model.proj_out
        config = model.config
        heads = config.decoder_attention_heads
        width = config.d_model // heads
        self.cache = StaticCache(config=config, max_cache_len=length)
        self.cache.early_initialization(1, heads, width, torch.float32, torch.device("cpu"))
        for i, layer in enumerate(self.cache.layers):
            self.register_buffer(f"keys_{i}", layer.keys)
            self.register_buffer(f"values_{i}", layer.values)

    def forward(self, tokens: Tensor, sound: Tensor, position: Tensor) -> Tensor:
        # torch.export sees a write to what it knows as a buffer of this module.
        for i, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = self.get_buffer(f"keys_{i}"), self.get_buffer(f"values_{i}")
            layer.cumulative_length = position[0].clone()
        cache = EncoderDecoderCache(self.cache, DynamicCache())
        states = self.decoder(
            input_ids=tokens, encoder_hidden_states=sound, cache=cache, use_cache=True
        )
        return self.project(states[0])


def whisper() -> nn.Module:
    """Whisper-tiny's widths, with two layers in its decoder and encoder."""
    config = transformers.WhisperConfig(
        vocab_size=1000,
        d_model=384,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        max_source_positions=300,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return transformers.WhisperForConditionalGeneration(config)


def wav2vec2(batch: int) -> Made:
    config = transformers.Wav2Vec2Config(num_hidden_layers=2)
    return First(transformers.Wav2Vec2Model(config), "input_values"), (torch.randn(batch, 8000),)


class UNet(nn.Module):
    """Two levels down and up again, with what was seen on the way."""

    def __init__(self) -> None:
        super().__init__()

        def block(inside: int, outside: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inside, outside, 3, padding=1),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
                nn.Conv2d(outside, outside, 3, padding=1),
                nn.ReLU(),
            )

        self.down1, self.down2, self.middle = block(3, 16), block(16, 32), block(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join2, self.join1 = block(64, 32), block(32, 16)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        c = self.middle(functional.max_pool2d(b, 2))
        b = self.join2(torch.cat([self.up2(c), b], 1))
        return self.last(self.join1(torch.cat([self.up1(b), a], 1)))


class SuperResolution(nn.Module):
    """Three times as many pixels a side, as in the network of sub-pixel convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(32, 27, 3, padding=1),
            nn.PixelShuffle(3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Autoencoder(nn.Module):
    """Strided convolutions, and transposed ones back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.GELU()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1),
            nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(16, 3, 3, 2, 1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class ConformerBlock(nn.Module):
    """Half a feed-forward layer, attention, a gated depthwise convolution, the other half."""

    def __init__(self, width: int = 144, heads: int = 4) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            for _ in range(2)
        )
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(width, width, 1)
        self.depthwise = nn.Conv1d(width, width, 15, padding=7, groups=width)
        self.batch = nn.BatchNorm1d(width)

    def attend(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))

    def convolve(self, x: Tensor) -> Tensor:
        y, gate = self.widen(x.transpose(1, 2)).chunk(2, 1)
        y = functional.silu(self.batch(self.depthwise(y * torch.sigmoid(gate))))
        return self.narrow(y).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.feeds[0](self.norms[0](x))
        x = x + self.attend(self.norms[1](x))
        x = x + self.convolve(self.norms[2](x))
        return self.norms[4](x + 0.5 * self.feeds[1](self.norms[3](x)))


class Tagger(nn.Module):
    """A label for each token of a sentence, by a recurrent network of two layers."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed = nn.Embedding(200, 32)
        self.layers = kind(32, 48, 2, batch_first=True)
        self.label = nn.Linear(48, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.label(self.layers(self.embed(tokens))[0])


class DetectionHead(nn.Module):
    """Boxes in pixels and scores of classes, on a grid of one level."""

    def __init__(self, classes: int = 5, stride: int = 8) -> None:
        super().__init__()
        self.stride = stride
        self.boxes, self.scores = nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(16, classes, 1)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.SiLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.stem(x)
        height, width = y.shape[2:]
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([xs, ys], -1).reshape(1, -1, 2) * self.stride
        found = self.boxes(y).flatten(2).transpose(1, 2)
        centres = found[..., :2] + grid
        return torch.cat([centres, found[..., 2:].exp()], -1), self.scores(y).flatten(2).sigmoid()


NETWORKS: dict[str, Callable[[int], Made]] = {
    "MobileNetV2": _vision("mobilenet_v2"),
    "MobileNetV3": _vision("mobilenet_v3_small"),
    "ResNet-18": _vision("resnet18"),
    "ResNet-50": _vision("resnet50"),
    "EfficientNet-B0": _vision("efficientnet_b0"),
    "ConvNeXt-tiny": _vision("convnext_tiny"),
    "Swin-tiny": _vision("swin_t"),
    "ViT-tiny": vit_tiny,
    "SegFormer-B0": segformer,
    "U-Net": lambda batch: (UNet(), _image(batch, 64)),
    "super-resolution": lambda batch: (SuperResolution(), _image(batch, 40)),
    "detection head": lambda batch: (DetectionHead(), _image(batch, 96)),
    "autoencoder": lambda batch: (Autoencoder(), _image(batch, 64)),
    "BERT": bert,
    "CLIP, text": clip_text,
    "CLIP, image": clip_image,
    "CLIP, both": clip,
    "Whisper, encoder": whisper_encoder,
    "wav2vec2": wav2vec2,
    "LSTM tagger": lambda batch: (Tagger(nn.LSTM), (torch.randint(0, 200, (batch, 12)),)),
    "GRU tagger": lambda batch: (Tagger(nn.GRU), (torch.randint(0, 200, (batch, 12)),)),
    "Conformer block": lambda batch: (ConformerBlock(), (torch.randn(batch, 50, 144),)),
}

BATCHES = (1, 4)


def make(name: str, batch: int) -> Made:
    """A model in eval mode and its inputs, always the same."""
    torch.manual_seed(0)
    module, inputs = NETWORKS[name](batch)
    return module.eval(), inputs


def settle(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Batch norms with the means and variances of what they see, as after training.

    Without, values of a deep network shrink or grow layer by layer, past 8 and 16 bits.
    """
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = None
            norm.train()
    with torch.no_grad():
        for _ in range(2):
            module(*(torch.randn_like(x) if x.is_floating_point() else x for x in inputs))
    return module.eval()
