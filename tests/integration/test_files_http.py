"""Clients of HTTP that people already have, against a real daemon."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path

import pytest

from running import PATIENCE, Daemon, Start

SIZES = (0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 20, 20_000_003)


def serve(start: Start, port: int = 0, **options: str) -> tuple[Daemon, int]:
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    daemon = start(
        '[service.files]\nplugin = "files"\n'
        f'listen = [{{ endpoint = "tcp:{port}:interface=127.0.0.1", protocol = "http" }}]\n'
        f'[service.files.options]\ndirectory = "received"\n{lines}'
    ).ready()
    return daemon, daemon.port("files")[1]


def run(*command: str | Path, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    words = [os.fspath(word) for word in command]
    found = subprocess.run(words, input=given, capture_output=True, timeout=PATIENCE, check=False)
    return subprocess.CompletedProcess(words, found.returncode, found.stdout.decode(), found.stderr.decode())


def file_of(tmp_path: Path, size: int, name: str = "sent") -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


CHUNKED = "Transfer-Encoding: chunked"

WAYS: Sequence[tuple[str, Sequence[str]]] = (
    ("curl PUT", ("curl", "-sS", "--fail-with-body", "-T", "FILE", "URL")),
    (
        "curl chunked",
        ("curl", "-sS", "--fail-with-body", "-H", "Transfer-Encoding: chunked", "-T", "FILE", "URL"),
    ),
    ("curl form", ("curl", "-sS", "--fail-with-body", "-F", "f=@FILE;filename=NAME", "BASE")),
    ("curl POST", ("curl", "-sS", "--fail-with-body", "--data-binary", "@FILE", "URL")),
    ("wget PUT", ("wget", "-nv", "-O-", "--method=PUT", "--body-file=FILE", "URL")),
    ("wget POST", ("wget", "-nv", "-O-", "--post-file=FILE", "URL")),
)


@pytest.mark.parametrize(("way", "command"), WAYS, ids=[way for way, _ in WAYS])
def test_clients_store_files_of_all_sizes_bit_for_bit(
    start: Start, tmp_path: Path, way: str, command: Sequence[str]
) -> None:
    _, port = serve(start)
    for size in SIZES:
        if way == "curl chunked" and not size:
            continue  # curl 7.88 does not end the body of an empty file then
        file = file_of(tmp_path, size)
        name = f"f{size}"
        words = [
            word.replace("FILE", str(file))
            .replace("NAME", name)
            .replace("URL", f"http://127.0.0.1:{port}/{name}")
            .replace("BASE", f"http://127.0.0.1:{port}/")
            for word in command
        ]
        told = run(*words)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert (told.returncode, told.stdout) == (0, f"ok {name} {size} sha256={digest}\n"), told.stderr
        assert (tmp_path / "received" / name).read_bytes() == file.read_bytes()


def test_a_pipe_of_unknown_size_is_stored(start: Start, tmp_path: Path) -> None:
    _, port = serve(start)
    told = run("curl", "-sS", "-T", "-", f"http://127.0.0.1:{port}/piped", given=b"x" * 3_000_000)
    assert told.stdout.startswith("ok piped 3000000 ")


def test_a_broken_upload_goes_on_with_curl_after_a_kill_of_the_daemon(start: Start, tmp_path: Path) -> None:
    daemon, port = serve(start)
    url = f"http://127.0.0.1:{port}/film"
    file = file_of(tmp_path, 20_000_003)
    connection = HTTPConnection("127.0.0.1", port)
    connection.putrequest("PUT", "/film")
    connection.putheader("Content-Length", "20000003")
    connection.endheaders(file.read_bytes()[:12_000_000])
    while (offset := offset_of(url)) < 8 << 20:
        pass
    daemon.process.kill()
    daemon.process.wait()
    connection.close()
    serve(start, port)
    assert offset_of(url) >= offset
    told = run("curl", "-sS", "--fail-with-body", "-C", str(offset_of(url)), "-T", file, url)
    assert told.stdout.startswith("ok film 20000003 "), told
    assert (tmp_path / "received" / "film").read_bytes() == file.read_bytes()


def offset_of(url: str) -> int:
    fields = dict(
        line.lower().split(": ") for line in run("curl", "-sSI", url).stdout.splitlines() if ": " in line
    )
    return int(fields.get("upload-offset", 0))


@pytest.mark.parametrize("expects", [True, False])
def test_an_early_refusal_is_seen_by_a_client_that_sends_on(
    start: Start, tmp_path: Path, expects: bool
) -> None:
    _, port = serve(start, max_size='"1MiB"')
    file = file_of(tmp_path, 20_000_003)
    expect = () if expects else ("-H", "Expect:")
    told = run("curl", "-sS", "--fail-with-body", *expect, "-T", file, f"http://127.0.0.1:{port}/x")
    assert (told.returncode, told.stdout) == (
        22,
        "error too-large: expected at most 1048576 bytes, found 20000003\n",
    )
    if not expects:
        url = f"http://127.0.0.1:{port}/x"
        told = run("wget", "-nv", "--content-on-error", "-O-", "--method=PUT", f"--body-file={file}", url)
        assert (told.returncode, told.stdout.startswith("error too-large: ")) == (8, True)
        assert "ERROR 413" in told.stderr


def test_a_client_of_python_sees_a_refusal_in_the_midst_of_chunks(start: Start) -> None:
    _, port = serve(start, max_size='"1MiB"')
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("PUT", "/x", (b"x" * 100_000 for _ in range(50)), encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (
        413,
        b"error too-large: expected at most 1048576 bytes, found more\n",
    )
    connection.close()


def test_many_requests_go_over_one_connection(start: Start, tmp_path: Path) -> None:
    _, port = serve(start, serve="true")
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for number in range(20):
        connection.request("PUT", f"/{number}", b"x" * number, {"Accept": "application/json"})
        told = json.loads(connection.getresponse().read())
        assert (told["name"], told["size"]) == (str(number), number)
    connection.request("GET", "/")
    assert len(json.loads(connection.getresponse().read())) == 20
    connection.close()


def test_a_received_file_is_fetched_and_a_fetch_continued(start: Start, tmp_path: Path) -> None:
    _, port = serve(start, serve="true")
    (tmp_path / "received" / "big").write_bytes(data := os.urandom(30_000_000))
    fetched = tmp_path / "fetched"
    fetched.write_bytes(data[:1_000_000])
    told = run("curl", "-sS", "-C", "-", "-o", fetched, f"http://127.0.0.1:{port}/big")
    assert (told.returncode, fetched.read_bytes() == data) == (0, True)


def test_a_peer_that_speaks_tls_or_another_protocol_is_told(start: Start) -> None:
    _, port = serve(start)
    for hello in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x00\x0cwhat"):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(hello)
            assert b"this port speaks HTTP without TLS\n" in connection.makefile("rb").read()


def test_uploads_end_in_order_when_the_daemon_stops(start: Start, tmp_path: Path) -> None:
    daemon, port = serve(start)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        lines = connection.makefile("rb")
        assert lines.readline() == b"HTTP/1.1 100 Continue\r\n"
        daemon.signal()
        connection.sendall(b"hello")
        assert b"ok a 5 " in lines.read()
    assert daemon.wait() == 0
    assert (tmp_path / "received" / "a").read_bytes() == b"hello"
