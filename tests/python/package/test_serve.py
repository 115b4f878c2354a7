"""The command ``serve``: what it lists and serves, and what it says of hostile requests."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from executorch_webgpu.cli import app
from executorch_webgpu.errors import WebGPUError
from executorch_webgpu.serve import find_page, is_loopback, listen
from support.command import assert_one_sentence
from typer.testing import CliRunner

# The server reads no more of a program than its beginning.
PROGRAM = b"\x30\0\0\0ET12" + bytes(range(256)) * 40
WASM = b"\0asm\1\0\0\0"

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A page, two models and a file that is nobody's business."""
    root = tmp_path_factory.mktemp("site")
    files = {
        "page/index.html": b"<!doctype html><title>page</title>",
        "page/assets/core.wasm": WASM,
        "page/assets/page.js": b"export {};",
        "chat/chat model.pte": PROGRAM,
        "chat/tokenizer.json": b"{}",
        "chat/tokenizer_config.json": b"{}",
        "image/image.pte": PROGRAM,
        "image/weights.ptd": b"weights",
        "names.txt": "Katze\nTür\n".encode(),
        "secret.txt": b"secret",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "page/assets/link").symlink_to(root / "secret.txt")
    return root


class Server:
    """The command in a process of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [
            sys.executable,
            "-m",
            "executorch_webgpu",
            "serve",
            "--port",
            "0",
            "--no-smollm2",
        ]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.greeting = self.process.stdout.readline()
        assert self.greeting, "the server did not start"
        self.port = int(self.greeting.split("/ ")[0].rsplit(":", 1)[1])

    def request(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    def send(self, raw: bytes) -> bytes:
        """What comes back for bytes that no client would send: nothing if it hangs up before."""
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection,
            suppress(ConnectionError),
        ):
            connection.sendall(raw)
            with suppress(OSError):  # gone already
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = Server(
        folder / "chat/chat model.pte",
        folder / "image/image.pte",
        "--labels",
        folder / "names.txt",
        "--page",
        folder / "page",
    )
    yield server
    assert server.stop() == 0


def test_lists_models_with_what_lies_beside_them(server: Server) -> None:
    status, headers, body = server.request("/models.json")
    assert status == 200 and headers["content-type"] == "application/json"
    chat, image = json.loads(body)["models"]
    assert chat == {
        "name": "chat model",
        "program": "models/0/chat%20model.pte",
        "bytes": len(PROGRAM),
        "tokenizer": {
            "json": "models/0/tokenizer.json",
            "config": "models/0/tokenizer_config.json",
        },
        "labels": "models/0/names.txt",
    }
    assert image["labels"] == "models/1/names.txt" and "tokenizer" not in image
    assert server.request("/" + chat["program"])[2] == PROGRAM
    assert server.request("/" + image["labels"])[2].decode() == "Katze\nTür\n"


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/assets/core.wasm", "application/wasm"),
        ("/assets/page.js", "text/javascript; charset=utf-8"),
        ("/models/0/tokenizer.json", "application/json"),
        ("/models/1/image.pte", "application/octet-stream"),
    ],
)
def test_types(server: Server, path: str, content_type: str) -> None:
    status, headers, _ = server.request(path)
    assert (status, headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize("path", ["/models/1/image.pte", "/assets/core.wasm"])
def test_ranges(server: Server, path: str) -> None:
    whole = PROGRAM if path.endswith("pte") else WASM
    status, headers, body = server.request(path, Range="bytes=2-5")
    assert status == 206 and body == whole[2:6]
    assert headers["content-range"] == f"bytes 2-5/{len(whole)}" and headers["accept-ranges"]
    assert server.request(path, Range="bytes=-3")[2] == whole[-3:]
    assert server.request(path, Range=f"bytes=4-{10**30}")[2] == whole[4:]
    tag = headers["etag"]
    assert server.request(path, Range="bytes=0-0", If_Range=tag)[0] == 206
    assert server.request(path, Range="bytes=0-0", If_Range='"other"')[::2] == (200, whole)
    assert server.request(path, "HEAD")[1]["content-length"] == str(len(whole))


def test_a_changed_file_has_another_tag(server: Server, folder: Path) -> None:
    path = folder / "image/image.pte"
    before = server.request("/models/1/image.pte", "HEAD")[1]["etag"]
    path.write_bytes(PROGRAM + b"more")
    assert server.request("/models/1/image.pte", "HEAD")[1]["etag"] != before
    path.unlink()
    assert server.request("/models/1/image.pte")[0] == 404
    path.write_bytes(PROGRAM)
    assert server.request("/models/1/image.pte")[::2] == (200, PROGRAM)


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("bytes=999999999-", 416),
        ("bytes=5-2", 400),
        ("bytes=x-y", 400),
        ("lines=1-2", 400),
    ],
)
def test_bad_ranges(server: Server, wanted: str, status: int) -> None:
    answer, _, body = server.request("/models/1/image.pte", Range=wanted)
    assert answer == status and len(body) < 100
    assert server.request("/")[0] == 200


def test_very_many_ranges_are_the_whole_file(server: Server) -> None:
    wanted = "bytes=" + ",".join("0-" for _ in range(5000))
    assert server.request("/models/1/image.pte", Range=wanted)[::2] == (200, PROGRAM)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%5c..%5csecret.txt",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/assets/link",
        "/models/0/../../secret.txt",
        "/models/0/..%2f..%2fsecret.txt",
        "/models/0/image.pte",
        "/models/7/image.pte",
        "/models/",
        "/index.html%00.js",
        "/" + "x" * 5000,
        "/%ff%fe",
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, _, body = server.request(path)
    assert status == 404 and b"secret" not in body and len(body) < 100
    assert server.request("/")[0] == 200


def test_hostile_requests_are_answered_and_survived(server: Server) -> None:
    line = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    assert server.send(b"\0\xff\r\n\r\n").startswith(b"HTTP/1.1 400")
    for huge in (
        line + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n",
        line + b"X: y\r\n" * 20000 + b"\r\n",
        b"GET /" + b"y" * (1 << 20) + b" HTTP/1.1\r\n\r\n",
    ):
        assert server.send(huge)[:10] in (b"", b"HTTP/1.1 4")
    assert server.send(line[: len(line) // 2]) == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        assert server.request("/", method)[0] == 405
        assert server.request("/models/0/tokenizer.json", method)[0] == 405
    assert server.request("/")[0] == 200


def test_a_foreign_name_for_this_machine_gets_nothing(server: Server) -> None:
    assert server.request("/models.json", Host="evil.example")[0] == 400
    assert server.request("/models.json", Host=f"localhost:{server.port}")[0] == 200


def test_data_files(folder: Path) -> None:
    server = Server(
        folder / "image/image.pte", "--data", folder / "image", "--page", folder / "page"
    )
    (model,) = json.loads(server.request("/models.json")[2])["models"]
    assert model["data"] == ["models/0/weights.ptd"]
    assert model["bytes"] == len(PROGRAM) + len(b"weights")
    assert server.request("/models/0/weights.ptd")[2] == b"weights"
    assert server.stop() == 0


def test_other_machines_are_warned_of(folder: Path) -> None:
    server = Server("--host", "0.0.0.0", "--page", folder / "page")
    assert "serves no models" in server.greeting
    assert server.request("/models.json", Host="any.example")[0] == 200
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["no/such.pte"], ["no such file: no/such.pte"]),
        (["secret.txt"], ["not an ExecuTorch program"]),
        (["--page", "chat"], ["chat has no index.html"]),
        (["image/image.pte", "--labels", "nothing.txt"], ["no such file: nothing.txt"]),
        (["image/image.pte", "--labels", "bytes.txt"], ["bytes.txt is no text in UTF-8"]),
        (["image/image.pte", "--tokenizer", "image"], ["no such file: image/tokenizer.json"]),
        (["image/image.pte", "--tokenizer", "names.txt"], ["is not named tokenizer.json"]),
        (["--data", "image"], ["--data belongs to one model"]),
        (["--no-smollm2", "--host", "192.0.2.1"], ["cannot listen on port 8080 of 192.0.2.1"]),
        (["--no-smollm2", "--host", "no such host"], ["no such host is no address"]),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], parts: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\xfd")
    page = [] if "--page" in arguments else ["--page", "page"]
    assert_one_sentence(runner.invoke(app, ["serve", *page, *arguments]), *parts)


def test_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(WebGPUError, match="choose another"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_the_missing_page_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "python/executorch_webgpu"
    monkeypatch.setattr("executorch_webgpu.serve.__file__", str(package / "serve.py"))
    with pytest.raises(WebGPUError, match="run scripts/build_web.sh"):
        find_page()
    built = tmp_path / "web/demo/dist"
    for place in (built, package / "page"):  # the wheel's own comes first
        place.mkdir(parents=True)
        (place / "index.html").touch()
        assert find_page() == place


def test_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.1.2.3", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "localhost.example"]))
