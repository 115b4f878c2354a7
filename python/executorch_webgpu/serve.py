"""The page and its models over HTTP, for the command ``serve``."""

from __future__ import annotations

import mimetypes
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .errors import WebGPUError
from .files import check_file, check_program
from .tokenizer import CONFIG_FILE, TOKENIZER_FILE

LABELS_FILE = "labels.txt"

# A browser refuses scripts and wasm of other types, and a system's own table may have others.
for _ending, _type in {
    ".js": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
}.items():
    mimetypes.add_type(_type, _ending)


@dataclass(frozen=True)
class ServedModel:
    """A program and what lies beside it, by what the page calls it."""

    name: str
    program: Path
    data: Sequence[Path] = ()
    tokenizer: Path | None = None  # the folder of tokenizer.json and tokenizer_config.json
    labels: Path | None = None

    @classmethod
    def find(
        cls,
        program: Path,
        name: str | None = None,
        data: Sequence[Path] = (),
        tokenizer: Path | None = None,
        labels: Path | None = None,
    ) -> ServedModel:
        """The model with the files given for it, or else with those beside it.

        Raises WebGPUError where the program, or a file that was given, is not what it should be.
        """
        check_program(program)
        for file in data:
            check_file(file)
        return cls(
            name or program.stem,
            program,
            data,
            _tokenizer_folder(program, tokenizer),
            _beside(program, LABELS_FILE) if labels is None else _checked_labels(labels),
        )


def _beside(program: Path, name: str) -> Path | None:
    path = program.parent / name
    return path if path.is_file() else None


def _tokenizer_folder(program: Path, given: Path | None) -> Path | None:
    if given is None:
        found = (_beside(program, name) for name in (TOKENIZER_FILE, CONFIG_FILE))
        return program.parent if all(found) else None
    if given.is_file() and given.name != TOKENIZER_FILE:
        raise WebGPUError(f"{given} is not named {TOKENIZER_FILE}")
    folder = given.parent if given.is_file() else given
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        check_file(folder / name)
    return folder


def _checked_labels(path: Path) -> Path:
    check_file(path)
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WebGPUError(f"{path} is no text in UTF-8, with a label in each line") from error
    return path


def find_page(given: Path | None = None) -> Path:
    """The folder of the built page: the given one, the wheel's, or that of the repository."""
    package = Path(__file__).parent
    places = [given] if given else [package / "page", package.parents[1] / "web/demo/dist"]
    for place in places:
        if (place / "index.html").is_file():
            return place
    if given:
        raise WebGPUError(f"{given} has no index.html: give the folder of the built page")
    raise WebGPUError(
        "the page is not built: run scripts/build_web.sh in the repository (./dev serve does it), "
        "or give the folder of a built one with --page"
    )


def application(page: Path, models: Sequence[ServedModel], hosts: Sequence[str]) -> Starlette:
    """The page, ``models.json`` and the models' files; `hosts` are the names it answers to."""
    files: dict[str, Path] = {}
    entries = [_entry(i, model, files) for i, model in enumerate(models)]

    def listing(request: Request) -> Response:
        return JSONResponse({"models": entries}, headers={"Cache-Control": "no-store"})

    def model_file(request: Request) -> Response:
        path = files.get(request.path_params["path"])
        if path is None or not path.is_file():
            raise HTTPException(404, "there is no such model file")
        # Asked for again, not taken from the browser's cache: the page keeps weights itself.
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    return Starlette(
        routes=[
            Route("/models.json", listing),
            Route("/models/{path:path}", model_file),
            Mount("/", StaticFiles(directory=page, html=True)),
        ],
        # A foreign page whose name was made to mean this machine may not read the models.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _explain, OSError: _unreadable},
    )


def _entry(number: int, model: ServedModel, files: dict[str, Path]) -> dict[str, Any]:
    """What the page hears of a model; the files get addresses."""

    def address(path: Path) -> str:
        place = f"{number}/{path.name}"
        if files.setdefault(place, path) != path:
            raise WebGPUError(f"two files of {model.name} have the name {path.name}")
        return f"models/{quote(place)}"

    entry: dict[str, Any] = {
        "name": model.name,
        "program": address(model.program),
        "bytes": sum(path.stat().st_size for path in (model.program, *model.data)),
    }
    if model.data:
        entry["data"] = [address(path) for path in model.data]
    if model.tokenizer:
        entry["tokenizer"] = {
            "json": address(model.tokenizer / TOKENIZER_FILE),
            "config": address(model.tokenizer / CONFIG_FILE),
        }
    if model.labels:
        entry["labels"] = address(model.labels)
    return entry


def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=error.headers)


def _unreadable(request: Request, error: Exception) -> Response:
    reason = error.strerror if isinstance(error, OSError) else None
    return PlainTextResponse(f"the file cannot be read: {reason or error}\n", 500)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises WebGPUError where there can be none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise WebGPUError(f"{host} is no address of this machine: {error.strerror}") from error
    except OverflowError as error:
        raise WebGPUError(f"{port} is no port: the largest is 65535") from error
    except OSError as error:
        raise WebGPUError(
            f"cannot listen on port {port} of {host} ({os.strerror(error.errno or 0)}): "
            "choose another with --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def serve(
    page: Path, models: Sequence[ServedModel], host: str, port: int, started: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C; `started` hears the page's address once it answers."""
    hosts = [host, "localhost", "127.0.0.1", "[::1]", "::1"] if is_loopback(host) else ["*"]
    app = application(page, models, hosts)
    listener = listen(host, port)
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{listener.getsockname()[1]}/"
    config = uvicorn.Config(
        app, http="h11", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    with listener, suppress(KeyboardInterrupt):
        started(url)
        uvicorn.Server(config).run(sockets=[listener])
