"""The cases of the wheel's WebGPU backend, each with the results that it wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executorch.backends.webgpu.test.op_tests import generate_op_tests
from executorch.backends.webgpu.test.op_tests.test_suite import op_test_registry
from executorch.runtime import Runtime

CASES = [
    pytest.param(name, case, id=f"{name}-{case.name or number}")
    for name, suite in op_test_registry.items()
    for number, case in enumerate(suite.cases)
]

DTYPES = {"float32": np.float32, "int8": np.int8, "bool": np.int8, "int64": np.int64}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: Any, tmp_path: Path, note: Callable[[bool], None]) -> None:
    suite = op_test_registry[name]
    entries = generate_op_tests.generate_case(name, suite, case, str(tmp_path))
    _, inputs, program = generate_op_tests.export_case(suite, case)
    note(generate_op_tests._has_vulkan_delegate(program))
    method = Runtime.get().load_program(tmp_path / entries[0]["pte"]).load_method("forward")
    assert method is not None
    outputs = method.execute(inputs)
    for entry in entries:
        golden = entry["golden"]
        kind = DTYPES[golden.get("dtype", "float32")]
        want = np.fromfile(tmp_path / golden["path"], kind).reshape(golden["shape"])
        got = outputs[golden["output_index"]].numpy()
        if kind is np.float32:
            np.testing.assert_allclose(got, want, rtol=entry["rtol"], atol=entry["atol"])
        else:
            np.testing.assert_array_equal(got.astype(kind), want)
