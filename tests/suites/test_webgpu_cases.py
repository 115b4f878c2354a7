"""The cases of the wheel's WebGPU backend, each with the inputs and results that it writes down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.backends.webgpu.test.op_tests import generate_op_tests
from executorch.backends.webgpu.test.op_tests.test_suite import op_test_registry
from executorch.runtime import Runtime

CASES = [
    pytest.param(name, case, id=f"{name}-{case.name or number}")
    for name, suite in op_test_registry.items()
    for number, case in enumerate(suite.cases)
]

# As they are written, and as a program takes them.
STORED = {"float32": "f4", "int32": "i4", "int64": "i8", "int8": "i1", "bool": "i1"}


def read(folder: Path, entry: dict[str, Any]) -> torch.Tensor:
    """A tensor of the case's manifest."""
    dtype = entry["dtype"]
    stored = np.fromfile(folder / entry["path"], STORED[dtype]).reshape(entry["shape"])
    return torch.from_numpy(stored).to(getattr(torch, dtype))


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: Any, tmp_path: Path, note: Callable[[bool], None]) -> None:
    entries = generate_op_tests.generate_case(name, op_test_registry[name], case, str(tmp_path))
    file = (tmp_path / entries[0]["pte"]).read_bytes()
    note(b"VulkanBackend" in file)
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    assert method is not None
    outputs = method.execute([read(tmp_path, entry) for entry in entries[0]["inputs"]])
    for entry in entries:
        golden = entry["golden"]
        want = read(tmp_path, golden)
        got = outputs[golden["output_index"]]
        # Whole numbers are exact, and the manifest has them wider than the program may.
        rough = want.is_floating_point()
        torch.testing.assert_close(
            got,
            want,
            rtol=entry["rtol"] if rough else 0,
            atol=entry["atol"] if rough else 0,
            check_dtype=rough,
        )
