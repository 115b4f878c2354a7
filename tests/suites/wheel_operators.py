"""A pytest plug-in: the wheel's operator suite lowers to this runtime, with no operator left out.

Its WebGPU flow names the operators of another runtime, and skips cases by their names; its other
flows are of other backends. Its random numbers are the same ones each time.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from typing import Any

import executorch.backends.test.suite.flows.webgpu as webgpu_flow
import executorch_webgpu  # noqa: F401  registers the backend
import pytest
import support.quick_export  # noqa: F401
from executorch.backends.test.suite import reporting, runner
from executorch.backends.vulkan.op_registry import vulkan_supported_ops
from executorch.backends.webgpu.test import tester

# Cases by suite, and by whether anything was delegated.
DELEGATED: Counter[tuple[str, bool]] = Counter()

_run_test = runner.run_test


def _counted(*args: Any, **kwargs: Any) -> Any:
    summary = _run_test(*args, **kwargs)
    DELEGATED["operators", bool(summary.is_delegated())] += 1
    return summary


runner.run_test = _counted  # before the suite's conftest takes it
reporting.begin_test_session(None, seed=0)
tester.WEBGPU_SUPPORTED_OPS[:] = list(vulkan_supported_ops)
webgpu_flow.WEBGPU_TEST_FLOW.skip_patterns.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a share of the cases, the same ones each time."""
    share = float(os.environ.get("ETWEBGPU_SUITE_SHARE", "1"))
    kept, dropped = [], []
    for item in items:
        flow = getattr(getattr(item, "callspec", None), "params", {}).get("test_runner")
        ours = flow is None or flow.name == webgpu_flow.WEBGPU_TEST_FLOW.name
        wanted = ours and zlib.crc32(item.name.encode()) < share * 2**32
        (kept if wanted else dropped).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases of each suite were delegated."""
    for suite in sorted({suite for suite, _ in DELEGATED}):
        terminalreporter.write_line(
            f"{suite}: {DELEGATED[suite, True]} cases delegated, {DELEGATED[suite, False]} not"
        )
