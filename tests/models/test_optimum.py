"""Models that optimum-executorch exports, by the stock partitioner and by the lowering.

Skipped where it is not installed: `./dev test-optimum` installs it apart and runs this.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import executorch_webgpu
import pytest
from tables import Row

pytest.importorskip("optimum")

from optimum_table import OptimumRow
from program_rows import measured, refused
from support import decoders as _first  # noqa: F401  transformers, by whatever torchvision there is
from support.export_llm import difference_over
from support.optimum_export import DECODERS, HOW, Form, export

CUSTOM = {"use_custom_sdpa": True, "use_custom_kv_cache": True}
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"use_custom_sdpa": True},
    {"use_custom_kv_cache": True},
    CUSTOM,
    {"disable_dynamic_shapes": True},
    *({"qlinear": mode} for mode in ("4w", "8w", "8da4w")),
    *({"qembedding": mode} for mode in ("4w", "8w")),
    {"qlinear": "8da4w", "qembedding": "8w", **CUSTOM},
)
FORMS = [
    *(Form("Llama", options) for options in OPTIONS),
    *(Form(model) for model in DECODERS if model not in ("Llama", "Gemma2", "Gemma3")),
    *(Form(model, CUSTOM) for model in ("Phi3", "Gemma2", "Gemma3")),
    *(Form(model) for model in ("Bert", "ViT", "Beit")),
]
STOCK = [form for form in FORMS if form.model in ("Llama", "Bert", "ViT")]
# Of the stock partitioner's programs: how their export or their first call fails.
REFUSED = {
    "use_custom_sdpa": "FusePatternsPass",
    "use_custom_kv_cache": "an input that nothing reads",
}
CASES = [*(("lowered", form) for form in FORMS), *(("stock", form) for form in STOCK)]
TOLERANCE = 2e-5


@pytest.mark.parametrize(("how", "form"), CASES, ids=str)
def test_form(how: str, form: Form, tmp_path: Path, note: Callable[[Row], None]) -> None:
    exported = export(form, tmp_path)

    def compared() -> tuple[executorch_webgpu.Model, float]:
        path = tmp_path / "model.pte"
        path.write_bytes(HOW[how](exported).buffer)
        model = executorch_webgpu.load(path)
        model.import_kernels()
        return model, difference_over(exported.calls, exported, model.forward)

    if how == "stock" and form.said in REFUSED:
        with pytest.raises(Exception, match=REFUSED[form.said]) as raised:
            compared()
        note(OptimumRow(model=form.model, options=form.said, how=how, **refused(raised.value)))
        return
    model, found = compared()
    assert found <= TOLERANCE
    last = exported.calls[-1]
    fields = measured(model, found, lambda: model.forward(*last))
    note(OptimumRow(model=form.model, options=form.said, how=how, **fields))
