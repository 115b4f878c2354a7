"""Language models that ExecuTorch's own ``export_llm`` writes, in every form that it offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import executorch_webgpu
import pytest
from language_table import row
from program_rows import measured, refused
from support.export_llm import (
    LENGTHS,
    WEIGHTS,
    Exported,
    Form,
    difference_over,
    in_files,
    lowered,
    make_checkpoint,
    official,
    official_methods,
    two_methods,
)
from tables import Row
from torch import Tensor

HOW = {"export_llm": official, "lowered": lowered}
FORMS = [
    *(
        Form(weights, attention, length)
        for weights in WEIGHTS
        for attention in ("custom", "plain", "none")
        for length in LENGTHS
    ),
    *(
        Form(weights, "custom", length, embedding)
        for weights in ("4w", "8da4w")
        for embedding in ("4,32", "8,0")
        for length in LENGTHS
    ),
    *(Form("4w", "8 bits", length) for length in LENGTHS),
]


def refusal(how: str, form: Form) -> str | None:
    """How a form's export fails, where it does."""
    if how == "lowered":
        return None
    if form.attention in ("plain", "8 bits") and form.length == "any":
        # Upstream's passes go through the graph again, and find a position that they know no
        # bounds of; or the partitioner makes a delegate of what gives no tensor.
        return (
            "FuseBatchNormPass" if form.attention == "8 bits" else "graph_output_allocated not set"
        )
    if form.weights == "vulkan_8w":
        return "FusePatternsPass"  # takes an epsilon that PT2E has made a tensor
    return "Tried to erase Node" if form.attention == "8 bits" else None


# By the lowering what export_llm takes apart or refuses, and one that it does not.
LOWERED = [
    form
    for form in FORMS
    if form.attention != "custom"
    or form.weights in ("int8", "vulkan_8w")
    or form.embedding == "8,0"
    or form == Form("4w")
]
WANTED = [
    *(("export_llm", form) for form in FORMS),
    *(("lowered", form) for form in LOWERED),
]
CASES = [case for case in WANTED if refusal(*case) is None]
REFUSED = [case for case in WANTED if refusal(*case) is not None]
METHODS_HOW = ("stock", "lowered")
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def load(exported: Exported, data: Path | None = None) -> executorch_webgpu.Model:
    model = executorch_webgpu.load(exported.pte, data)
    model.import_kernels()
    return model


@pytest.mark.parametrize(("how", "form"), CASES, ids=str)
def test_form(
    how: str, form: Form, checkpoint: Path, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    exported = HOW[how](form, checkpoint, tmp_path)
    model = load(exported)
    calls = list(form.calls())
    found = difference_over(calls, exported.eager, model.forward)
    assert found <= TOLERANCE
    note(row(form, how, measured(model, found, lambda: model.forward(*calls[-1]))))


@pytest.mark.parametrize(("how", "form"), REFUSED, ids=str)
def test_what_cannot_be_exported(
    how: str, form: Form, checkpoint: Path, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    with pytest.raises(Exception, match=refusal(how, form)) as raised:
        HOW[how](form, checkpoint, tmp_path)
    note(row(form, how, refused(raised.value)))


@pytest.mark.parametrize("how", METHODS_HOW)
def test_prefill_and_decode_over_one_cache(
    how: str, checkpoint: Path, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    form = Form("4w")
    exported = two_methods(how, form, checkpoint, tmp_path)
    model, calls = load(exported), list(form.calls())

    def run(tokens: Tensor, position: Tensor) -> list[Tensor]:
        return model.execute("decode" if tokens.shape[1] == 1 else "prefill", [tokens, position])

    found = difference_over(calls, exported.eager, run)
    assert found <= TOLERANCE
    note(row(form, f"{how}, two methods", measured(model, found, lambda: run(*calls[-1]))))


def test_export_llm_makes_one_method(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multimethod export only supports XNNPACK"):
        official_methods(Form("4w"), checkpoint, tmp_path)


@pytest.mark.parametrize("how", METHODS_HOW)
def test_weights_in_several_files(
    how: str, checkpoint: Path, tmp_path: Path, note: Callable[[Row], None]
) -> None:
    form = Form("4w")
    exported = in_files(how, form, checkpoint, tmp_path, most=200_000)
    files = len(list(tmp_path.glob("*.ptd")))
    assert files > 1
    model, calls = load(exported, tmp_path), list(form.calls())
    found = difference_over(calls, exported.eager, model.forward)
    assert found <= TOLERANCE
    how = f"{how}, {files} files"
    note(row(form, how, measured(model, found, lambda: model.forward(*calls[-1]))))
