"""A pytest plugin that writes what tests compare with eager torch as cases (case_files.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from .adapter import has_matrices
from .capi import Model
from .case_files import Call, Case, CaseWriter
from .expected import Array, Expected
from .observer import OBSERVERS
from .options import ACTIVE

# Folders whose tests need what only the native library has, its options and users' operators, or
# record programs of their own.
_NATIVE = {"capi", "package", "web"}


class Recorder:
    """Each model that a passing test loads is a case, if anything is known of what it gives.

    Args:
        folder: where the files come.
        most: bytes of a case; larger ones are left out.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._writer = CaseWriter(folder)
        self._counts = {"cases": 0, "calls": 0, "tests": 0}
        self._too_large: list[str] = []
        self._uncompared: list[str] = []
        self._elsewhere: list[str] = []
        OBSERVERS.append(self)
        self._forget()

    def _forget(self) -> None:
        self._passed = True
        self._cases: list[Case] = []
        self._of_model: dict[int, Case] = {}  # that this test loaded
        # Outputs by their tensors, which are kept so that no other gets the number of one.
        self._outputs: dict[int, tuple[Call, int]] = {}
        self._kept: list[torch.Tensor] = []

    # --- What models do --------------------------------------------------------------------------

    def loads(
        self, model: Model, blob: bytes, named: Mapping[str, bytes], capacities: Sequence[int]
    ) -> None:
        matrices = ACTIVE.get("matmul_dtype") == "f16" and has_matrices()
        case = Case("", dict(ACTIVE), matrices, blob, dict(named), list(capacities))
        self._cases.append(case)
        self._of_model[id(model)] = case

    def runs(self, model: Model, inputs: Sequence[Array | int]) -> None:
        if case := self._of_model.get(id(model)):
            case.calls.append(Call([i if isinstance(i, int) else i.copy() for i in inputs]))

    def failed(self, model: Model, sentence: str) -> None:
        if case := self._of_model.get(id(model)):
            failed = case.calls[-1] if case.calls else case
            failed.error = sentence

    def gave(self, model: Model, outputs: Sequence[torch.Tensor]) -> None:
        if case := self._of_model.get(id(model)):
            call = case.calls[-1]
            call.outputs = [None] * len(outputs)
            self._outputs |= {id(output): (call, i) for i, output in enumerate(outputs)}
            self._kept += outputs

    def checks(self, got: torch.Tensor, expected: Expected) -> None:
        if id(got) in self._outputs:
            call, index = self._outputs[id(got)]
            # What tests expect of a state may be changed by their next step.
            copies = [a.copy() for a in expected.alternatives]
            call.outputs[index] = replace(expected, alternatives=copies)

    # --- What pytest does ------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._passed &= report.passed

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self._passed and _NATIVE.isdisjoint(nodeid.split("/")):
            self._write(nodeid)
        self._forget()

    def _write(self, test: str) -> None:
        for number, case in enumerate(self._cases):
            case.name = f"{test} #{number}" if len(self._cases) > 1 else test
            while case.calls and not case.calls[-1].says_something:
                case.calls.pop()
        telling = [c for c in self._cases if c.calls or c.error is not None]
        fitting = [c for c in telling if _size(c) <= self._most]
        self._too_large += [c.name for c in telling if c not in fitting]
        if not telling:
            (self._uncompared if self._cases else self._elsewhere).append(test)
        for case in fitting:
            self._writer.write(case)
        self._counts["cases"] += len(fitting)
        self._counts["calls"] += sum(len(c.calls) for c in fitting)
        self._counts["tests"] += bool(fitting)

    def pytest_sessionfinish(self) -> None:
        OBSERVERS.remove(self)
        self._writer.finish_pair()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = ", ".join(f"{count} {what}" for what, count in self._counts.items())
        size = f"{self._writer.bytes / 1e6:.1f} MB"
        terminalreporter.write_line(f"recorded in {self._folder}: {counts}, {size}")
        for what, names in (
            ("cases that are too large", self._too_large),
            ("passing tests that compare nothing with eager", self._uncompared),
            ("passing tests that load no delegate through the C interface", self._elsewhere),
        ):
            if names:
                terminalreporter.write_line(f"not recorded: {len(names)} {what}")
                if terminalreporter.config.get_verbosity() >= 0:
                    terminalreporter.write_line("\n".join(f"  {name}" for name in names))


def _size(case: Case) -> int:
    """Bytes, those that are equal once."""
    inputs = [i for call in case.calls for i in call.inputs if not isinstance(i, int)]
    expected = [e for call in case.calls for e in call.outputs if e]
    arrays = inputs + [a for e in expected for a in e.alternatives]
    return sum(map(len, {case.blob, *case.data.values(), *(a.tobytes() for a in arrays)}))
