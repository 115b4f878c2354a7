"""Loading and running programs, with errors that say what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import le
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import WebGPUError
from .files import check_program
from .native import library

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    # What a method takes and gives: tensors and plain numbers.
    Value = torch.Tensor | int | float | bool

StrPath = str | os.PathLike[str]


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
    data_path: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Graph, operators, weights, memory plan and dispatches of every delegate of a program.

    Args:
        path: the .pte file.
        data_path: its .ptd file, if its weights lie outside.
        settings: ``{"adapter": "discrete" | "integrated" | "software", "sizes": [[...], ...]}``,
            the kind of adapter and the input sizes to plan for.
    """
    program, data = _checked_paths(path, data_path)
    return library().inspect(program, data, settings)


def load(path: StrPath, data_path: StrPath | None = None) -> Model:
    """Load a program. Its methods are loaded when first called.

    Args:
        path: a .pte file.
        data_path: its .ptd file, if its weights lie outside.

    Raises:
        WebGPUError: a file is missing or not a program, or the backend is not there.
    """
    program_path, data = _checked_paths(path, data_path)
    library()
    with _explained(program_path, lambda: _unreadable(program_path)):
        program = _pybindings()._load_program(
            str(program_path), data_path=None if data is None else str(data)
        )
    return Model(program_path, program)


class Model:
    """A loaded program: its methods by name."""

    def __init__(self, path: Path, program: Any) -> None:
        self.path = path
        self._program = program
        self._methods: dict[str, Any] = {}
        count: int = program.num_methods()
        self.method_names: tuple[str, ...] = tuple(program.get_method_name(i) for i in range(count))

    def load_method(self, name: str = "forward") -> None:
        """Load a method now instead of at its first call: shaders are compiled, weights uploaded.

        Raises WebGPUError with the backend's reason when it cannot.
        """
        if name in self._methods:
            return
        if name not in self.method_names:
            known = ", ".join(self.method_names)
            raise WebGPUError(f"{self.path} has no method {name!r}: it has {known}")
        with _explained(self.path):
            self._methods[name] = self._program.load_method(name)

    def execute(self, name: str, inputs: Sequence[Value] = ()) -> list[Any]:
        """Run a method: a list of its outputs, tensors being copies of the backend's.

        Raises WebGPUError with the backend's reason when loading or running it fails.
        """
        self.load_method(name)
        with _explained(self.path, lambda: self._mismatch(name, inputs)):
            outputs: list[Any] = self._methods[name](inputs)
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
        meta = self._program.method_meta(name)
        return [_describe_input(meta.input_tensor_meta, i) for i in range(meta.num_inputs())]

    def _mismatch(self, name: str, inputs: Sequence[Value]) -> str | None:
        """What is wrong with a method's inputs, or None if they fit its signature."""
        signature = self.signature(name)
        if len(inputs) != len(signature):
            takes = ", ".join(f"{kind} {list(sizes)}" for kind, sizes in signature) or "none"
            return f"{name!r} takes {len(signature)} inputs ({takes}) but got {len(inputs)}"
        for i, ((kind, most), value) in enumerate(zip(signature, inputs, strict=True)):
            if kind == "scalar":
                continue
            given = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
            sizes = tuple(getattr(value, "shape", ()))
            if given != kind or len(sizes) != len(most) or not all(map(le, sizes, most)):
                return (
                    f"input {i} of {name!r} is {given} {list(sizes)}, "
                    f"not {kind} of at most {list(most)}"
                )
        return None


def _describe_input(tensor_meta: Callable[[int], Any], index: int) -> tuple[str, tuple[int, ...]]:
    try:
        info = tensor_meta(index)
    except (RuntimeError, IndexError):  # not a tensor
        return "scalar", ()
    return str(_dtype(info.dtype())), tuple(info.sizes())


def _dtype(scalar_type: int) -> str:
    """The name of an ExecuTorch ScalarType number."""
    names = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16"}
    names |= {6: "float32", 7: "float64", 11: "bool", 15: "bfloat16"}
    return names.get(scalar_type, f"type {scalar_type}")


def _checked_paths(path: StrPath, data_path: StrPath | None) -> tuple[Path, Path | None]:
    program = Path(path)
    check_program(program)
    data = None if data_path is None else Path(data_path)
    if data is not None and not data.is_file():
        raise WebGPUError(f"no such file: {data}")
    return program, data


def _unreadable(program: Path) -> str | None:
    """What this package's own reader finds wrong with a program that ExecuTorch refuses."""
    try:
        library().inspect(program, None, None)
    except WebGPUError as error:
        return str(error).removeprefix(f"{program}: ")
    return None


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
def _explained(path: Path, guess: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turn ExecuTorch's bare error numbers into the backend's own words, or else into `guess`."""
    library().clear_error()
    try:
        yield
    except RuntimeError as error:
        # Without a reason from the backend, the failure is ExecuTorch's own.
        reason = library().last_error() or guess() or error
        raise WebGPUError(f"{path}: {reason}") from error
