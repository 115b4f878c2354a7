"""Pictures as inputs of the command ``run``, and what a model says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch_webgpu.cli import app
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.pictures import MEAN, STD, Preparing, likeliest, load_labels
from PIL import Image
from support.command import assert_one_sentence
from support.paths import REPOSITORY
from support.program import save
from typer.testing import CliRunner

runner = CliRunner()
INPUT = ("input 0", "float32", (1, 3, 8, 6))


class Redness(torch.nn.Module):
    """Scores for red, green and blue."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True).flatten(1) * 10


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    return save(folder, "colours", Redness(), (torch.zeros(1, 3, 8, 8),)).pte


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("red\ngreen\nblue\n")
    return path


def picture(path: Path, mode: str = "RGB", colour: object = (200, 40, 10), **saved: object) -> Path:
    Image.new(mode, (20, 12), colour).save(path, **saved)  # type: ignore[arg-type]
    return path


def test_pixels_are_normalized(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    got = Preparing().load(tmp_path / "a.png", *INPUT)
    expected = (torch.from_numpy(pixels).double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(got.double(), expected.permute(2, 0, 1)[None], rtol=0, atol=1e-6)


def test_the_whole_of_a_wide_picture(tmp_path: Path) -> None:
    """As the file beside the model says, or else from -1 to 1."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    beside = tmp_path / "preprocessor_config.json"
    for said, resample, mean, std in (
        (None, Image.Resampling.LANCZOS, 0.5, 0.5),
        ({"image_mean": [0.25] * 3, "image_std": [2] * 3, "resample": 3}, 3, 0.25, 2.0),
        ({"image_mean": [0.25] * 3, "do_normalize": False}, Image.Resampling.LANCZOS, 0.0, 1.0),
    ):
        if said is not None:
            beside.write_text(json.dumps(said))
        got = Preparing.beside(tmp_path / "model.pte").load(tmp_path / "a.png", *INPUT)
        whole = np.array(Image.fromarray(pixels).resize((6, 8), resample), np.float32)
        expected = (torch.from_numpy(whole) / 255 - mean) / std
        torch.testing.assert_close(got, expected.permute(2, 0, 1)[None], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot read"),
        ("[]", "is no JSON object"),
        ('{"image_mean": 0.5}', "has no numbers of three colours"),
        ('{"image_std": [1, 0, 1]}', "has no numbers of three colours"),
        ('{"resample": 9}', "no filter as resample"),
    ],
)
def test_what_lies_beside_a_model_is_broken(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(WebGPUError, match=says):
        Preparing.beside(tmp_path / "model.pte")


def test_the_middle_of_a_wide_picture(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    preparing = Preparing(5, (0, 0, 0), (1, 1, 1))
    got = preparing.load(tmp_path / "wide.png", *INPUT)
    assert got.shape == (1, 3, 5, 5)
    assert got.min() > 0.8  # the edge is blended with what lies beside it


def test_a_camera_that_was_held_upright(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[0] = 255  # is on the right, once turned
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    got = Preparing(None, (0, 0, 0), (1, 1, 1)).load(tmp_path / "turned.png", *INPUT)
    assert got[0, 0, :, -1].min() == 1 and got[0, 0, :, :-1].max() == 0


@pytest.mark.parametrize(
    ("mode", "colour", "name"),
    [
        ("RGBA", (200, 40, 10, 128), "a.png"),
        ("L", 90, "a.png"),
        ("P", 3, "a.gif"),
        ("CMYK", (0, 200, 200, 0), "a.jpg"),
        ("1", 1, "a.bmp"),
        ("I;16", 4000, "a.png"),
    ],
)
def test_any_kind_of_picture(tmp_path: Path, mode: str, colour: object, name: str) -> None:
    got = Preparing().load(picture(tmp_path / name, mode, colour), *INPUT)
    assert got.shape == (1, 3, 8, 6) and got.isfinite().all()


def test_the_command_names_the_likeliest(colours: Path, labels: Path, tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.jpg")
    plain = ["--mean", "0,0,0", "--std", "1,1,1"]
    result = runner.invoke(
        app, ["run", str(colours), "-i", str(photo), "--labels", str(labels), *plain]
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["red", "green", "blue"]
    assert float(lines[1].split()[0].rstrip("%")) > 99


def test_the_example_does_so_in_ten_lines(colours: Path, labels: Path, tmp_path: Path) -> None:
    photo = picture(tmp_path / "photo.jpg")
    command = [sys.executable, REPOSITORY / "examples/classify.py", colours, labels, photo]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split()[1] == "red"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--mean", "1,2"], "--mean is three numbers such as 0.5,0.5,0.5, not '1,2'"),
        (["--std", "1,0,1"], "--std is three numbers such as 0.5,0.5,0.5, not '1,0,1'"),
        (["--std", "a,b,c"], "--std is three numbers such as 0.5,0.5,0.5, not 'a,b,c'"),
        (["--mean", "nan,0,0"], "--mean is three numbers such as 0.5,0.5,0.5, not 'nan,0,0'"),
        (["--size", "9"], "float32 [1, 3, 9, 9], not float32 [1, 3, 8, 8]"),
        (["--labels", "no/labels.txt"], "no such file: no/labels.txt"),
    ],
)
def test_wrong_options(colours: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    photo = picture(tmp_path / "photo.png")
    result = runner.invoke(app, ["run", str(colours), "-i", str(photo), *arguments])
    assert_one_sentence(result, sentence)


def test_files_that_are_no_pictures(colours: Path, tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png").read_bytes()
    for name, content, sentence in [
        ("text.jpg", b"hello", "is no picture that can be read"),
        ("empty.png", b"", "is no picture that can be read"),
        ("cut.png", good[: len(good) // 2], "cannot be read: "),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        result = runner.invoke(app, ["run", str(colours), "-i", str(path)])
        assert_one_sentence(result, sentence, str(path))
    assert (
        runner.invoke(app, ["run", str(colours), "-i", str(tmp_path / "good.png")]).exit_code == 0
    )


def test_a_picture_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(WebGPUError, match=r"cannot be read: .*exceeds limit"):
        Preparing().load(picture(tmp_path / "bomb.png"), *INPUT)


def test_an_input_that_takes_no_picture(tmp_path: Path) -> None:
    with pytest.raises(WebGPUError, match=r"input 0 takes int64 \[1, 4\], not a picture as"):
        Preparing().load(picture(tmp_path / "a.png"), "input 0", "int64", (1, 4))


def test_labels(tmp_path: Path) -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    assert [name for name, _ in likeliest(scores, ["a", "b", "c"], 2)] == ["b", "c"]
    with pytest.raises(WebGPUError, match=r"the labels are 2, but the output is float32 \[1, 3\]"):
        likeliest(scores, ["a", "b"])
    for content, sentence in ((b"\n \n", "has no labels"), (b"\xff\xfe", "is no text in UTF-8")):
        (tmp_path / "labels.txt").write_bytes(content)
        with pytest.raises(WebGPUError, match=sentence):
            load_labels(tmp_path / "labels.txt")
