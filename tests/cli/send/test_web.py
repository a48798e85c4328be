"""Web servers that say what they like."""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from sockd.cli.send.source import RegularFile
from sockd.cli.send.target import parse_web
from sockd.cli.send.web import Web
from tests.cli.send.servers import Serve, Talk, run

TUS = "Tus-Version: 1.0.0\r\nTus-Extension: creation,termination\r\n"
SHORT = ("--retry", "0.05s")

Answer = Callable[[int], str]
"""Returns the answer to a request, of which the number of bytes in the body is told."""


def status(line: str, fields: str = "", body: str = "") -> str:
    return f"HTTP/1.1 {line}\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}"


def web(answers: Mapping[str, str], asked: list[str]) -> Talk:
    """Return a server that answers each method with a text; without one it closes the connection."""

    def talk(connection: socket.socket) -> None:
        had = 0
        with suppress(OSError), connection.makefile("rb") as stream:
            while line := stream.readline().decode():
                length = 0
                while field := stream.readline().strip().decode():
                    if field.startswith("Authorization:"):
                        asked.append(field)
                    if field.lower().startswith("content-length:"):
                        length = int(field.partition(":")[2])
                method, path, _ = line.split(" ", 2)
                asked.append(f"{method} {path}")
                had += len(stream.read(length))
                answer = answers.get(method, "")
                connection.sendall(answer.replace("$OFFSET", str(had)).encode("latin-1"))
                if not answer:
                    return

    return talk


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def send(serve: Serve, asked: list[str], hello: Path) -> Callable[..., tuple[int, str]]:
    """Send a file to a server with these answers; return the exit code and what was told."""

    def send(answers: Mapping[str, str], *files: Path) -> tuple[int, str]:
        address = serve(web(answers, asked)).replace("tcp:", "http://") + "/in/"
        result = run(*(files or (hello,)), address, *SHORT)
        return result.exit_code, result.stdout + result.stderr

    return send


Send = Callable[..., tuple[int, str]]


def test_a_server_that_is_not_ready_gets_nothing_yet(send: Send, asked: list[str]) -> None:
    code, told = send({"OPTIONS": status("503 Service Unavailable")})
    assert (code, set(asked)) == (3, {"OPTIONS /in/"})
    assert "refused (503): Service Unavailable" in told


def test_a_server_that_has_moved_tells_where(send: Send) -> None:
    moved = status("308 Permanent Redirect", "Location: https://example.org/in/\r\n")
    code, told = send({"OPTIONS": moved, "PUT": moved})
    assert code == 1
    assert "refused (308): Permanent Redirect, send to https://example.org/in/\n" in told


@pytest.mark.parametrize("user", ["ann:sw%40rd", "ann"])
def test_a_user_is_told_to_the_server_and_to_nobody_else(
    serve: Serve, asked: list[str], hello: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKD_PASSWORD", "sw@rd")
    server = web({"OPTIONS": status("200 OK"), "PUT": status("403 Forbidden")}, asked)
    address = serve(server).removeprefix("tcp:")
    result = run(hello, f"http://{user}@{address}/")
    assert set(asked[::2]) == {"Authorization: Basic " + b64encode(b"ann:sw@rd").decode()}
    assert result.stderr == f"cannot send {hello} to http://{address}/: refused (403): Forbidden\n"


def test_an_answer_before_the_end_of_the_file_is_no_success(
    serve: Serve, tmp_path: Path, asked: list[str]
) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 64 << 20)

    def hasty(connection: socket.socket) -> None:
        while b"PUT" not in connection.recv(65536):
            connection.sendall(status("200 OK").encode())
        connection.sendall(status("201 Created").encode())
        while connection.recv(65536):
            pass

    result = run(tmp_path / "large", serve(hasty).replace("tcp:", "http://") + "/")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the server has answered before it had the whole file" in result.stderr


def test_a_large_piece_has_the_time_limit_of_the_connection_for_each_slice() -> None:
    """Python's `sendall` bounds the time for all that it is given."""
    sent: list[int] = []

    class Connection:
        sock = None

        def send(self, data: memoryview) -> None:
            sent.append(len(data))

    address = parse_web("http://example.org/")
    assert address is not None
    server = Web(address, "", Event(), lambda: False)
    assert server._send(Connection(), [bytes(16 << 20), b"rest"])  # type: ignore[arg-type]
    assert sum(sent) == (16 << 20) + 4
    assert max(sent) <= 256 << 10


def test_a_file_that_has_changed_never_comes_whole(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PUT has no other word for it than a body without its end."""
    file = tmp_path / "large"
    file.write_bytes(bytes(1 << 20))
    had: list[int] = []
    ended = Event()
    read = RegularFile.read

    def read_and_change(source: RegularFile) -> bytes | memoryview:
        data = read(source)
        os.utime(file, (1, 1))
        return data

    monkeypatch.setattr(RegularFile, "read", read_and_change)

    def server(connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as stream:
            while line := stream.readline():
                while stream.readline().strip():
                    pass
                if line.startswith(b"PUT"):
                    had.append(0)
                    try:
                        while data := stream.read1():
                            had[-1] += len(data)
                    finally:
                        ended.set()
                connection.sendall(status("200 OK").encode())

    result = run(file, serve(server).replace("tcp:", "http://") + "/", *SHORT)
    assert result.exit_code == 4
    assert result.stderr.endswith(": the file changed while it was sent\n")
    assert ended.wait(20)
    assert max(had) < 1 << 20


def test_a_file_whose_name_is_no_text_is_told_and_the_others_are_sent(
    send: Send, asked: list[str], hello: Path
) -> None:
    bad = hello.with_name(os.fsdecode(b"bad\xff"))
    bad.write_bytes(b"1")
    code, told = send({"OPTIONS": status("200 OK"), "PUT": status("201 Created")}, bad, hello)
    assert code == 4
    assert set(asked) == {"OPTIONS /in/", "PUT /in/a%20b"}
    assert "its name is not one line of UTF-8" in told


@pytest.mark.parametrize("stale", ["9" * 5000, "-1", "6", "\u00b2", ""])
def test_an_offset_that_no_server_can_mean_begins_anew(
    send: Send, asked: list[str], stale: str, hello: Path
) -> None:
    answers = {
        "OPTIONS": status("204 No Content", TUS),
        "POST": status("201 Created", "Location: /\u00fc?\u00e4\r\n"),
        "PATCH": "",
    }
    assert send(answers)[0] == 3
    assert {"PATCH /%C3%BC?%C3%A4"} < set(asked)
    asked.clear()
    answers["HEAD"] = status("200 OK", f"Upload-Offset: {stale}\r\nUpload-Length: 5\r\n")
    answers["PATCH"] = status("204 No Content", "Upload-Offset: $OFFSET\r\n")
    code, told = send(answers)
    assert (code, asked[-1]) == (0, "PATCH /%C3%BC?%C3%A4"), told


def test_a_file_that_changes_has_its_outcome_although_the_server_is_gone(
    send: Send, asked: list[str], hello: Path
) -> None:
    class Changing(dict[str, str]):
        def get(self, method: str, default: str = "") -> str:  # type: ignore[override]
            if method == "PATCH":
                os.utime(hello, (1, 1))
            return super().get(method, default)

    hello.write_bytes(bytes(4 << 20))
    answers = {
        "OPTIONS": status("204 No Content", TUS),
        "POST": status("201 Created", "Location: /one\r\n"),
        "PATCH": status("204 No Content", "Upload-Offset: $OFFSET\r\n"),
    }
    code, told = send(Changing(answers))
    assert (code, asked[-1]) == (4, "DELETE /one"), told
    assert told.endswith(": the file changed while it was sent\n")
