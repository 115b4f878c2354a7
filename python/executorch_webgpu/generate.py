"""Running a language model: tokens in, logits out, and choosing the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from .errors import WebGPUError
from .files import DataPath, StrPath
from .native import Delegate
from .runtime import Model, load

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from .seeing import Picture

    Logits = NDArray[np.float32]

# Feeds a token at a position, takes the likeliest after it, goes on with that, and gives up to so
# many tokens, ending with the first that is among the last argument's.
Continue = Callable[[int, int, int, frozenset[int]], list[int]]

# Longest piece of a prompt fed at once. Short enough that Ctrl-C is heard on slow adapters.
_CHUNK = 512

_USUAL_PROMPT = 30


class Decoder(Protocol):
    """What a conversation needs of a model with a key-value cache."""

    @property
    def context(self) -> int:
        """Tokens the cache holds."""

    @property
    def chunk(self) -> int:
        """Most tokens that one call takes."""

    def __call__(self, tokens: Sequence[int], position: int) -> Logits:
        """Write `tokens` into the cache from `position` on; float32 logits [V] after the last."""

    def revive(self) -> None:
        """Make the model usable, with an empty cache, after its device was lost."""


def no_language_model(
    model: Model, method: str, signature: Sequence[tuple[str, Sequence[int]]], wanted: str
) -> WebGPUError:
    """A method of a program takes something else than a decoder's would."""
    takes = ", ".join(f"{kind} {list(sizes)}" for kind, sizes in signature) or "nothing"
    return WebGPUError(
        f"{model.path} is not a language model: {method} takes {takes}, not {wanted}"
    )


class CachedDecoder:
    """What programs with a key-value cache have in common, whatever their decoder takes.

    Args:
        longest_input: tokens that one call takes.
        methods: that a conversation begins with.
    """

    def __init__(self, model: Model, longest_input: int, methods: Sequence[str]) -> None:
        self._model = model
        self._first_methods = methods
        self.path: Path = model.path
        self.longest_input = longest_input
        self.context: int = model.constant(
            "get_max_context_len", model.constant("get_max_seq_len", longest_input + 1)
        )
        self.chunk = min(_CHUNK, longest_input)
        self.vocabulary: int | None = model.constant("get_vocab_size", None)
        # optimum-executorch knows one that ends an answer, by another name.
        eos = model.constant("get_eos_ids", model.constant("get_eos_id", []))
        self.eos: frozenset[int] = frozenset(eos if isinstance(eos, list) else [eos])

    def ready(self) -> Self:
        """Import the kernels that the program needs and load the methods to begin with."""
        self._model.import_kernels()
        for name in self._first_methods:
            self._model.load_method(name)
        return self

    def __call__(self, tokens: Sequence[int], position: int) -> Logits:
        """Feed 1 to `longest_input` tokens; see `Decoder`."""
        raise NotImplementedError

    @property
    def continue_greedily(self) -> Continue | None:
        """Several tokens at a time, where the program can."""
        return None

    def see(self, path: Path) -> Picture:
        """A picture for messages. Raises WebGPUError where the program takes none."""
        raise WebGPUError(f"{self.path} has no vision part, so it cannot see {path}")

    def revive(self) -> None:
        """Load the program again after its device was lost. Its cache is empty then."""
        self._model.reload()

    def warm_up(self) -> None:
        """Have the device compile what prompts and single tokens need, else the first answer waits.

        Overwrites the cache from position 0 on.
        """
        tokens = max(1, min(_USUAL_PROMPT, self.longest_input, self.context - 2))
        self([0] * tokens, 0)
        if tokens + 1 >= self.context:
            return
        if self.continue_greedily:
            self.continue_greedily(0, tokens, 1, frozenset())
        else:
            self([0], tokens)


class LanguageModel(CachedDecoder):
    """A program with ``forward(tokens [1, S] int64, position [1] int64) -> logits``.

    Or with a position for each token, [S], as optimum-executorch's ``cache_position``.
    """

    def __init__(self, model: Model) -> None:
        signature = model.signature() if "forward" in model.method_names else []
        shapes = [sizes for kind, sizes in signature if kind == "int64"]
        if [len(sizes) for sizes in shapes] != [2, 1]:
            raise no_language_model(
                model, "forward", signature, "tokens [1, S] and a position [1] of int64"
            )
        (_, longest), (positions,) = shapes
        self._takes_all_positions = positions > 1
        super().__init__(model, longest, ["forward"])

    @classmethod
    def load(cls, path: StrPath, data_path: DataPath = None) -> LanguageModel:
        """Load a program and its ``forward``, and import the kernels that these need.

        Raises WebGPUError if it is no language model.
        """
        return cls(load(path, data_path)).ready()

    def __call__(self, tokens: Sequence[int], position: int) -> Logits:
        import torch

        count = len(tokens) if self._takes_all_positions else 1
        positions = torch.arange(position, position + count)
        (logits,) = self._model.forward(torch.tensor([tokens]), positions)
        return last_row(logits)

    @property
    def delegates(self) -> list[Delegate]:
        """The delegates of ``forward`` on the device."""
        return self._model.delegates()

    @cached_property
    def continue_greedily(self) -> Continue | None:
        """Greedy decoding with the tokens kept on the GPU; None where the program is more than one
        delegate's graph, whose logits would not be the program's."""
        methods = self._model.outline["methods"]
        (forward,) = [method for method in methods if method["name"] == "forward"]
        if forward["kernel_calls"] != 0 or forward["delegate_calls"] != 1:
            return None
        if not self.delegates or not self._has_tokens_first():
            return None
        # Asked for at each call: another one, after a lost device.
        return lambda *call: self.delegates[0].generate(*call)

    def _has_tokens_first(self) -> bool:
        """Whether the delegate has the program's order: its own is that of the inputs' uses."""
        kinds = self._model.delegate_inputs()
        return len(kinds) == 2 and ", " in kinds[0]  # of two sizes


def last_row(logits: torch.Tensor) -> Logits:
    """Of logits [..., S, V], those after the last token."""
    last: Logits = logits.reshape(-1, logits.shape[-1])[-1].float().numpy()
    return last


@dataclass
class Sampler:
    """Chooses the next token from logits [V].

    Attributes:
        temperature: 0 takes the likeliest token; higher is more varied.
        top_k: choose among this many likeliest tokens; 0 among all.
        top_p: of these, among the fewest that have so much of their probability together.
        min_p: of these, among those with so much of the likeliest's probability.
        repetition_penalty: above 1, tokens of the conversation are less likely.
        seed: for repeatable choices; None for different ones each time.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    _random: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import numpy as np

        self._random = np.random.default_rng(self.seed)

    @property
    def takes_likeliest(self) -> bool:
        """Whether it only ever takes the likeliest token, which a model can do by itself."""
        return self.temperature <= 0 and self.repetition_penalty == 1

    def __call__(self, logits: Logits, seen: Sequence[int] = ()) -> int:
        """The next token after those `seen`."""
        import numpy as np

        if np.isnan(logits).any():
            raise WebGPUError("the model's logits are no numbers (NaN)")
        logits = self._penalized(logits, seen)
        if self.temperature <= 0:
            return int(logits.argmax())
        candidates = np.arange(len(logits))
        if 0 < self.top_k < len(logits):
            candidates = np.argpartition(logits, -self.top_k)[-self.top_k :]
        values = logits[candidates].astype(np.float64)
        with np.errstate(over="ignore"):  # by a temperature near zero
            weights = np.exp((values - values.max()) / self.temperature)
        weights[weights < max(self._least_of_top_p(weights), self.min_p * weights.max())] = 0
        return int(self._random.choice(candidates, p=weights / weights.sum()))

    def _penalized(self, logits: Logits, seen: Sequence[int]) -> Logits:
        import numpy as np

        if self.repetition_penalty == 1 or not seen:
            return logits
        out, tokens = logits.copy(), np.unique(seen)
        tokens = tokens[tokens < len(logits)]  # the others are rows of pictures
        penalty = np.float32(self.repetition_penalty)
        out[tokens] = np.where(out[tokens] > 0, out[tokens] / penalty, out[tokens] * penalty)
        return out

    def _least_of_top_p(self, weights: NDArray[np.float64]) -> float:
        """The lightest of the fewest that have `top_p` of the weight together."""
        import numpy as np

        if self.top_p >= 1:
            return 0.0
        falling = np.sort(weights)[::-1]
        last = int(np.searchsorted(np.cumsum(falling), self.top_p * falling.sum()))
        return float(falling[min(last, len(falling) - 1)])
