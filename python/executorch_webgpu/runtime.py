"""Loading and running programs, with errors that say what is wrong."""

from __future__ import annotations

import io
import re
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import kernels
from .errors import WebGPUError, WebGPUWarning, listed
from .files import DataPath, StrPath, check_program, data_file_list
from .inputs import are_passable, laid_out, mismatch
from .native import Delegate, library, path_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    # What a method takes and gives: tensors and plain numbers.
    Value = torch.Tensor | int | float | bool

# A line that ExecuTorch logs by way of sys.stderr, which is one for all threads, without its place
# in the sources and an error's number.
_LOGGED = re.compile(r"^\[\w[\w.]*:\d+\] (.+?)(?::? 0x[0-9a-f]+)?$", re.MULTILINE)
_loading = threading.Lock()

_OWN_BACKEND = "VulkanBackend"  # what partitioned programs name
# Constant methods are not among an outline's.
_CONSTANT: Mapping[str, Any] = {
    "name": "",
    "inputs": [],
    "host_kernels": [],
    "external_constants": [],
    "delegates": [],
}


def last_error() -> str:
    """The backend's sentence about this thread's latest failure, "" if there was none.

    The stock API raises ExecuTorch's error number only; this is the reason behind it.
    """
    return library().last_error()


def devices() -> dict[str, Any]:
    """WebGPU implementations, their adapters and which one would be used.

    Returns ``{"providers": [{"name", "source", "status", "adapters": [...]}], "selected": {...}}``,
    with None for "selected" when there is no adapter.
    """
    return library().devices()


def inspect(
    path: StrPath,
    data_path: DataPath = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Graph, operators, weights, memory plan and dispatches of every delegate of a program.

    Args:
        path: the .pte file.
        data_path: its .ptd files, or their folder, if its weights lie outside.
        settings: ``{"adapter": "discrete" | "integrated" | "software", "sizes": [[...], ...],
            "outline": True | False, "kernel": number}``, the kind of adapter and the input sizes
            to plan for, whether to leave out what is inside of delegates, and a dispatch whose
            WGSL to add to each plan.
    """
    program = Path(path)
    check_program(program)
    return library().inspect(program, data_file_list(data_path), settings)


def load(path: StrPath, data_path: DataPath = None) -> Model:
    """Load a program. Its methods are loaded when first called.

    Args:
        path: a .pte file.
        data_path: its .ptd files, or their folder, if its weights lie outside.

    Raises:
        WebGPUError: a file is missing or not what it should be, or the backend is not there.
    """
    program_path, data_files = Path(path), data_file_list(data_path)
    outline = inspect(program_path, data_files, {"outline": True})
    own_file = _file_for_executorch(outline)
    with _explained(program_path), _refusals_from_log("the program"):
        program = _pybindings()._load_program(str(program_path), data_path=own_file)
    return Model(program_path, data_files, outline, program)


class Model:
    """A loaded program: its methods by name.

    Attributes:
        outline: of the program, as `inspect` gives it.
    """

    def __init__(
        self, path: Path, data_files: Sequence[Path], outline: Mapping[str, Any], program: Any
    ) -> None:
        self.path = path
        self.outline = outline
        self._data_paths = data_files
        self._data_files = path_list(file.absolute() for file in data_files)
        self._program = program
        self._methods: dict[str, Any] = {}
        self._delegates: dict[str, list[Delegate]] = {}
        count: int = program.num_methods()
        self.method_names: tuple[str, ...] = tuple(program.get_method_name(i) for i in range(count))

    def reload(self) -> None:
        """Load the program and its methods again, on another device: the last one was lost.

        Their states are as at first. Raises WebGPUError, DeviceLostError where no adapter is left.
        """
        methods = list(self._methods)
        self._methods.clear()
        self._delegates.clear()
        own_file = _file_for_executorch(self.outline)
        with _explained(self.path), _refusals_from_log("the program"):
            self._program = _pybindings()._load_program(str(self.path), data_path=own_file)
        for name in methods:
            self.load_method(name)

    def import_kernels(self) -> None:
        """Import the installed packages that have kernels which operators outside the delegates
        need and which are not loaded. Raises WebGPUError when one cannot be imported."""
        for method in self.outline["methods"]:
            kernels.import_for(_missing_kernels(method))

    def load_method(self, name: str = "forward") -> None:
        """Load a method now instead of at its first call: shaders are compiled, weights uploaded.

        Raises WebGPUError with the backend's reason when it cannot, or with the kernels that are
        missing for operators outside the delegates and what to import for them.
        """
        if name in self._methods:
            return
        if name not in self.method_names:
            known = ", ".join(self.method_names)
            raise WebGPUError(f"{self.path} has no method {name!r}: it has {known}")
        method = self._outline_of(name)
        if obstacle := _obstacle(self.outline, method):
            raise WebGPUError(f"{self.path}: {obstacle}")
        try:
            with (
                _explained(self.path),
                library().thread_option("data_files", self._data_files),
                _refusals_from_log(f"method {name!r}"),
            ):
                self._methods[name] = self._program.load_method(name)
        except WebGPUError as error:
            if "operators that are not supported" not in str(error):
                raise
            raise WebGPUError(f"{self.path}: {self._missing_operators(name)}") from None
        for notice in library().take_notices():
            warnings.warn(notice, WebGPUWarning, stacklevel=2)
        own = [d for d in method["delegates"] if d["backend"] == _OWN_BACKEND]
        self._delegates[name] = library().latest_delegates(len(own))

    def _missing_operators(self, name: str) -> str:
        """What all delegates of a method lack: loading stops at the first."""
        methods = inspect(self.path, self._data_paths)["methods"]
        return "; ".join(r for m in methods if m["name"] == name for r in refusals(m))

    def delegates(self, name: str = "forward") -> list[Delegate]:
        """This backend's delegates of a method, which is loaded if it is not."""
        self.load_method(name)
        return self._delegates[name]

    def delegate_inputs(self, name: str = "forward") -> list[str]:
        """What a method's first delegate takes, as in "int32[1, 31]"."""
        methods = inspect(self.path, self._data_paths)["methods"]
        (graph,) = [m["delegates"][0]["graph"] for m in methods if m["name"] == name]
        return [graph["values"][i] for i in graph["inputs"]]

    def execute(self, name: str, inputs: Sequence[Value] = ()) -> list[Any]:
        """Run a method: a list of its outputs, tensors being copies of the backend's. Inputs may
        have any layout.

        Raises WebGPUError with the backend's reason when loading or running it fails.
        """
        self.load_method(name)
        wanted = self._outline_of(name)["inputs"]
        if not are_passable(wanted, inputs):
            raise WebGPUError(f"{self.path}: {mismatch(name, wanted, inputs)}")
        arranged = laid_out(wanted, inputs)
        with _explained(self.path, lambda: mismatch(name, wanted, arranged)):
            outputs: list[Any] = self._methods[name](arranged)
        return outputs

    def forward(self, *inputs: Value) -> list[Any]:
        """``execute("forward", inputs)``."""
        return self.execute("forward", inputs)

    def constant(self, name: str, default: Any = None) -> Any:
        """What a constant method gives: one value, or a list of several; `default` without it."""
        if name not in self.method_names:
            return default
        values = self.execute(name)
        return values[0] if len(values) == 1 else values

    def signature(self, name: str = "forward") -> list[tuple[str, tuple[int, ...]]]:
        """Type and largest sizes of every tensor input; other inputs are ("scalar", ())."""
        return [
            (one["type"], tuple(one["sizes"])) if "sizes" in one else ("scalar", ())
            for one in self._outline_of(name)["inputs"]
        ]

    def _outline_of(self, name: str) -> Mapping[str, Any]:
        return next((m for m in self.outline["methods"] if m["name"] == name), _CONSTANT)


def _file_for_executorch(outline: Mapping[str, Any]) -> str | None:
    """The one data file that its Python interface takes: the only one, else that with the constants
    of operators outside the delegates, if there are any.

    Raises WebGPUError when those lie in several.
    """
    files: list[str] = [file["path"] for file in outline["data_files"]]
    if len(files) > 1:
        constants = [c for method in outline["methods"] for c in method["external_constants"]]
        holders = [constant["files"] for constant in constants if constant["files"]]
        files = [f for f in files if holders and all(f in holding for holding in holders)]
        if holders and not files:
            raise WebGPUError(_several_files(outline["path"], holders))
    return files[0] if files else None


def _several_files(program: str, holders: Sequence[Sequence[str]]) -> str:
    names = ", ".join(sorted({name for holding in holders for name in holding}))
    return (
        f"{program}: the constants of operators outside its delegates lie in several files "
        f"({names}), and ExecuTorch's Python interface reads one: export them into one file, or "
        "load the program with ExecuTorch's Module in C++"
    )


def obstacles(found: Mapping[str, Any]) -> list[str]:
    """Why methods of an inspected program could not be loaded, a sentence for each, when the
    installed packages with kernels are imported."""
    methods = found["methods"]
    importable = kernels.importable() if any(m["host_kernels"] for m in methods) else frozenset()
    return [text for method in methods if (text := _obstacle(found, method, importable))]


def refusals(method: Mapping[str, Any]) -> list[str]:
    """Why delegates of an inspected method cannot be loaded, a sentence for each."""
    name, delegates = method["name"], method["delegates"]
    return [
        f"method {name!r}{f', delegate {i}' if len(delegates) > 1 else ''}: {delegate['error']}"
        for i, delegate in enumerate(delegates)
        if "error" in delegate
    ]


def missing_operators(delegate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Operators of an inspected delegate that this runtime does not have, with their calls."""
    return [one for one in delegate.get("operators", []) if not one["supported"]]


def _obstacle(
    outline: Mapping[str, Any], method: Mapping[str, Any], importable: Collection[str] = ()
) -> str | None:
    """Why ExecuTorch cannot load a method, as far as the program's outline tells."""
    name = method["name"]
    if missing := _missing_kernels(method).difference(importable):
        return kernels.explain_missing(name, missing)
    backends = {delegate["backend"] for delegate in method["delegates"]} - {_OWN_BACKEND}
    if others := {backend for backend in backends if not _pybindings()._is_available(backend)}:
        return f"{name!r} has delegates for {listed(others)}, not available in this process"
    if lost := [c["name"] for c in method["external_constants"] if not c["stored"]]:
        files = ", ".join(file["path"] for file in outline["data_files"]) or "none"
        return (
            f"{name!r} needs constants that the program keeps in a .ptd file: {listed(lost)}; "
            f"data files read: {files}; an export may be split over several .ptd files: give all"
        )
    return None


def _missing_kernels(method: Mapping[str, Any]) -> set[str]:
    """Operators outside the delegates that no kernel is registered for."""
    names = {kernel["name"] for kernel in method["host_kernels"]}
    return names.difference(_pybindings()._get_operator_names()) if names else names


@cache
def _pybindings() -> ModuleType:
    """ExecuTorch's extension module.

    Not by way of executorch.runtime, which imports the whole export machinery and takes seconds. It
    is the same module object that executorch.runtime uses.
    """
    import torch  # noqa: F401  loads libraries the extension needs
    from executorch.extension.pybindings import _C

    module: ModuleType = _C
    return module


@contextmanager
def _refusals_from_log(what: str) -> Iterator[None]:
    """Turn ExecuTorch's error numbers into what it logged before, which has the values: the first
    line says what is wrong, the last one where."""
    with _loading:
        try:
            with redirect_stderr(io.StringIO()) as log:
                yield
        except RuntimeError as error:
            lines = _LOGGED.findall(log.getvalue())
            if not lines:
                raise
            where = f" ({lines[-1]})" if lines[-1] != lines[0] else ""
            raise RuntimeError(f"ExecuTorch cannot load {what}: {lines[0]}{where}") from error
        finally:
            sys.stderr.write(log.getvalue())


@contextmanager
def _explained(path: Path, guess: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turn ExecuTorch's bare error numbers into the backend's own words, or else into `guess`."""
    library().clear_error()
    try:
        yield
    except RuntimeError as error:
        # Without a reason from the backend, the failure is ExecuTorch's own.
        reason = library().last_error() or guess() or error
        raise library().error(f"{path}: {reason}") from error
