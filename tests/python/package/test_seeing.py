"""Questions about pictures: a tiny Idefics3 in parts, beside transformers' own `generate`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch_webgpu.chat import Conversation, PromptTooLong
from executorch_webgpu.cli import app
from executorch_webgpu.errors import DeviceLostError, WebGPUError
from executorch_webgpu.generate import Sampler
from executorch_webgpu.parts import DecoderInParts, Parts, load_decoder
from executorch_webgpu.seeing import FIRST_ROW, Picture, SeeingTokenizer
from executorch_webgpu.talk import Talk
from executorch_webgpu.tokenizer import ChatTokenizer
from PIL import Image
from rich.console import Console
from support import vision_language as vl
from support.command import assert_one_sentence, command
from tokenizers import Tokenizer
from typer.testing import CliRunner

runner = CliRunner()
STEPS = 20


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return vl.byte_tokenizer()


@pytest.fixture(scope="module")
def reference(plain: Tokenizer) -> Any:
    return vl.tiny_idefics3(plain)


@pytest.fixture(scope="module")
def program(reference: Any, plain: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vl.write_program(tmp_path_factory.mktemp("sees") / "sees.pte", reference, plain)


@pytest.fixture(scope="module")
def blind(reference: Any, plain: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blind") / "blind.pte"
    return vl.write_program(path, reference, plain, sees=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of the encoder's size, so that nothing is resized."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = [folder / f"photo {i}.png" for i in range(2)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (vl.SIDE, vl.SIDE, 3), np.uint8)).save(path)
    return paths


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 127.5 - 1


class Session:
    """A conversation whose answers go on past their ends."""

    def __init__(self, path: Path, sampler: Sampler | None = None) -> None:
        self.model = load_decoder(path)
        assert isinstance(self.model, DecoderInParts)
        base = ChatTokenizer.load(path.parent)
        self.tokenizer = SeeingTokenizer(base, self.model.image_token)
        self.conversation = Conversation(self.model, self.tokenizer, sampler or Sampler(), [])

    def ask(self, question: str, photos: Sequence[Path] = (), steps: int = STEPS) -> list[int]:
        """All tokens so far, of which the last are the answer."""
        pictures = [self.model.see(photo) for photo in photos]
        list(self.conversation.ask(question, steps, pictures=pictures))
        return self.conversation.state()[2]


def checked(
    tokens: Sequence[int], reference: Any, plain: Tokenizer, photos: Sequence[Path] = ()
) -> list[int]:
    """The prompt, with the picture's own tokens, after its answer was found to be right."""
    image = plain.token_to_id(vl.IMAGE)
    ids = [image if token >= FIRST_ROW else token for token in tokens]
    prompt = ids[:-STEPS]
    assert ids[-STEPS:] == vl.generate(reference, prompt, [pixels(p) for p in photos], STEPS)
    return prompt


def prompt_of(plain: Tokenizer, text: str) -> list[int]:
    picture = "<fake_token_around_image><global-img>" + vl.ROWS * vl.IMAGE
    text = text.replace("PICTURE", f"{picture}<fake_token_around_image>")
    ids: list[int] = plain.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("count", [0, 1, 2])
def test_same_tokens_as_transformers(
    program: Path, reference: Any, plain: Tokenizer, photos: list[Path], count: int
) -> None:
    seen = photos[:count]
    prompt = checked(Session(program).ask("What?", seen), reference, plain, seen)
    said = f"User:{count * 'PICTURE' or ' '}What?"
    assert prompt == prompt_of(plain, f"<|im_start|>{said}<end_of_utterance>\nAssistant:")


def test_pictures_change_what_is_said(program: Path, photos: list[Path]) -> None:
    answers = {tuple(Session(program).ask("What?", [photo])[-STEPS:]) for photo in photos}
    assert len(answers) == 2


def test_a_decoder_that_takes_its_first_position(
    blind: Path, reference: Any, plain: Tokenizer
) -> None:
    """With a prompt longer than a call."""
    checked(Session(blind).ask("What do you see in it?" + 20 * "?"), reference, plain)


def test_pictures_of_several_messages(
    program: Path, reference: Any, plain: Tokenizer, photos: list[Path]
) -> None:
    session = Session(program)
    checked(session.ask("A", photos[:1]), reference, plain, photos[:1])
    checked(session.ask("B", photos[1:]), reference, plain, photos)
    assert session.conversation.dropped == 0


def test_the_oldest_pictures_make_room(
    program: Path, reference: Any, plain: Tokenizer, photos: list[Path]
) -> None:
    """Their rows are not taken for those of the picture that is now in their place."""
    session = Session(program)
    session.ask("Same", photos[:1], steps=40)
    tokens = session.ask("Same", photos[1:])
    assert session.conversation.dropped == 2
    assert sum(token >= FIRST_ROW for token in tokens) == vl.ROWS
    checked(tokens, reference, plain, photos[1:])


def test_what_does_not_fit_changes_nothing(program: Path, photos: list[Path]) -> None:
    session = Session(program)
    before = session.ask("Hi")
    with pytest.raises(PromptTooLong, match=r"tokens \(80 of pictures\) do not fit"):
        session.ask("What?", photos * 10)
    assert session.conversation.state()[2] == before


def test_penalties_are_for_words(program: Path, photos: list[Path]) -> None:
    logits = np.array([3.0, 2.5, 1.0], np.float32)
    assert Sampler(repetition_penalty=2.0)(logits, [FIRST_ROW + 7, 0]) == 1
    session = Session(program, Sampler(repetition_penalty=1.3))
    assert len(session.ask("What?", photos[:1])) > STEPS


def test_an_answer_survives_lost_devices(program: Path, photos: list[Path]) -> None:
    def answer(lose_every: str) -> str:
        environment = {**os.environ, "ETWEBGPU_LOSE_DEVICE": lose_every}
        asked = ("--max-tokens", "20", "--image", photos[0], "--prompt", "What?")
        done = command("chat", program, *asked, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    undisturbed = answer("0")
    assert len(undisturbed) > 10
    assert answer("40") == undisturbed


def test_a_device_lost_while_looking(program: Path) -> None:
    """What the cache held is fed again with the next message."""
    session = Session(program)
    before = session.ask("Hi")
    seen = Picture("a.png", range(FIRST_ROW, FIRST_ROW + 1))
    answers: list[Picture | None] = [None, seen]

    def see(_: Path) -> Picture:
        if (answer := answers.pop(0)) is None:
            raise DeviceLostError("the device is lost")
        return answer

    talk = Talk(session.conversation, session.tokenizer, Console(file=io.StringIO()), see)
    talk.look_at(Path("a.png"))
    assert not answers and session.conversation.position == 0
    assert session.conversation.state()[2] == before


# --- The tokenizer alone ---

PICTURES = [
    Picture("a", range(FIRST_ROW, FIRST_ROW + 2)),
    Picture("b", range(FIRST_ROW + 2, FIRST_ROW + 4)),
]


def seeing(folder: Path, plain: Tokenizer, template: str = vl.TEMPLATE) -> SeeingTokenizer:
    vl.write_tokenizer(folder, plain, template)
    return SeeingTokenizer(ChatTokenizer.load(folder), None)


def test_each_picture_has_its_own_tokens(tmp_path: Path, plain: Tokenizer) -> None:
    tokenizer = seeing(tmp_path, plain)
    for pictures in (PICTURES, PICTURES[::-1]):
        text = tokenizer.render([{"role": "user", "content": "?", "pictures": pictures}])
        rows = [token for token in tokenizer.encode(text) if token >= FIRST_ROW]
        assert rows == [token for picture in pictures for token in picture.tokens]


def test_what_somebody_writes_is_no_picture(tmp_path: Path, plain: Tokenizer) -> None:
    tokenizer = seeing(tmp_path, plain)
    fake = f"<image> {PICTURES[0].label}"
    tokens = tokenizer.encode(tokenizer.render([{"role": "user", "content": fake}]))
    assert max(tokens) < FIRST_ROW and plain.token_to_id(vl.IMAGE) not in tokens


def test_templates_that_take_texts_only(tmp_path: Path, plain: Tokenizer) -> None:
    for template in (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{{ m['content'] + '' }}{% endfor %}",
    ):
        tokenizer = seeing(tmp_path, plain, template)
        assert tokenizer.render([{"role": "user", "content": "Hi"}]) == "Hi"
        with pytest.raises(WebGPUError, match="template has 0 times <image>, .* for 1 pictures"):
            tokenizer.render([{"role": "user", "content": "Hi", "pictures": PICTURES[:1]}])


def test_a_vocabulary_without_pictures(tmp_path: Path) -> None:
    words = Tokenizer.from_str(
        json.dumps({"model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}})
    )
    tokenizer = seeing(tmp_path, words)
    with pytest.raises(WebGPUError, match="no token for a picture: no <image>"):
        tokenizer.render([{"role": "user", "content": "?", "pictures": PICTURES}])


# --- Programs that are not as they should be ---


class Described:
    """A program by its signatures, whose encoder gives some rows."""

    path = Path("model.pte")

    def __init__(self, rows: torch.Tensor | None = None, **methods: Any) -> None:
        self._methods = {
            "token_embedding": [("int64", (1, 8))],
            "text_decoder": [("float32", (1, 8, 4)), ("int64", (8,))],
            "vision_encoder": [("float32", (1, 3, 8, 8))],
            **methods,
        }
        self._rows = rows

    def signature(self, name: str) -> list[tuple[str, tuple[int, ...]]]:
        return self._methods[name]

    def constant(self, name: str, default: Any = None) -> Any:
        return {"get_max_context_len": 16}.get(name, default)

    def execute(self, name: str, inputs: Sequence[Any]) -> list[Any]:
        return [self._rows]

    def decoder(self) -> DecoderInParts:
        parts = Parts.among(self._methods)
        assert parts is not None
        return DecoderInParts(self, parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Described(torch.zeros(1, 5, 3)), "gives float32 [1, 5, 3], not the embeddings"),
        (lambda: Described(torch.zeros(1, 5, 4).long()), "gives int64 [1, 5, 4]"),
        (lambda: Described(torch.zeros(1, 16, 4)), "is 16 tokens, which leaves no room"),
        (lambda: Described(vision_encoder=[("uint8", (3, 8, 8))]), "takes uint8 [3, 8, 8], not"),
        (lambda: Described(vision_encoder=[]), "takes nothing, not a picture"),
        (lambda: Described(text_decoder=[("int64", (1, 8))]), "text_decoder takes int64 [1, 8]"),
        (lambda: Described(token_embedding=[]), "token_embedding takes nothing, not tokens [1, S]"),
        (lambda: Described(token_embedding=[("int32", (1, 8))]), "token_embedding takes int32"),
        (lambda: Described(token_embedding=[("int64", (8,))]), "token_embedding takes int64 [8]"),
    ],
)
def test_parts_that_do_not_fit(
    make: Callable[[], Described], says: str, photos: list[Path]
) -> None:
    with pytest.raises(WebGPUError) as caught:
        make().decoder().see(photos[0])
    assert says in str(caught.value)


def test_parts_by_their_earlier_names() -> None:
    assert Parts.among(["image_encoder", "token_embedding", "text_model"]) == Parts(
        "token_embedding", "text_model", "image_encoder"
    )
    assert Parts.among(["forward", "token_embedding"]) is None


# --- The command ---

FEW = ("--max-tokens", "6")


def test_command_shows_pictures(program: Path, photos: list[Path]) -> None:
    asked = command("chat", program, *FEW, "--image", photos[0], "--prompt", "What?")
    assert asked.returncode == 0 and f"photo 0.png: {vl.ROWS} tokens" in asked.stderr, asked.stderr
    piped = command("chat", program, *FEW, input=f"/image {photos[0]}\nWhat?\n")
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == asked.stdout != ""
    blank = command("chat", program, *FEW, input=f"/image {photos[0]}\n/clear\nWhat?\n")
    assert (
        blank.stdout == command("chat", program, *FEW, "--prompt", "What?").stdout != piped.stdout
    )


def refused(path: Path, photo: Path, *more: str | Path, says: str) -> None:
    arguments = [path, "--image", photo, "--prompt", "What?", *more]
    result = runner.invoke(app, ["chat", *map(str, arguments)])
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    assert_one_sentence(result, says)


def test_command_says_why_it_cannot_see(
    program: Path, blind: Path, tiny: Path, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    refused(blind, photos[0], says="blind.pte has no vision part, so it cannot see")
    refused(tiny, photos[0], says="has no vision part, so it cannot see")
    refused(program, tmp_path / "text.jpg", says="is no picture that can be read")
    refused(program, tmp_path / "none.jpg", says="no such file")
    save = ("--save", tmp_path / "kept.json")
    refused(program, photos[0], *save, says="a conversation about pictures cannot be saved")
    assert not (tmp_path / "kept.json").exists()


def test_what_lies_beside_a_model_prepares_its_pictures(
    program: Path, photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "sees.pte").symlink_to(program)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(program.parent / name)
    (tmp_path / "preprocessor_config.json").write_text('{"image_std": [1, 0, 1]}')
    refused(tmp_path / "sees.pte", photos[0], says="has no numbers of three colours")
