"""Clients of HTTP that people already have, against a real daemon."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path

import pytest

from clients import python_packages
from running import PATIENCE
from websites import Website, website

SIZES = (0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 20, 20_000_003)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """Return the daemon that most tests share."""
    with website(tmp_path_factory.mktemp("site"), serve="true") as site:
        yield site


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """Return a daemon for small files only."""
    with website(tmp_path_factory.mktemp("narrow"), max_size='"1MiB"') as site:
        yield site


def run(*command: str | Path, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    words = [os.fspath(word) for word in command]
    env = None
    if words[0] == "http":
        env = os.environ | {"PYTHONPATH": str(python_packages("httpie"))}
        words[:1] = [sys.executable, "-m", "httpie"]
    elif shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    found = subprocess.run(words, input=given, env=env, capture_output=True, timeout=PATIENCE, check=False)
    return subprocess.CompletedProcess(words, found.returncode, found.stdout.decode(), found.stderr.decode())


def file_of(tmp_path: Path, size: int, name: str = "sent") -> Path:
    path = tmp_path / name
    path.write_bytes(os.urandom(size))
    return path


HTTPIE = ("http", "--ignore-stdin", "--check-status", "--body")

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
    ("httpie PUT", (*HTTPIE, "PUT", "URL", "@FILE", "Accept:*/*")),
    ("httpie form", (*HTTPIE, "--form", "POST", "BASE", "f@FILE", "Accept:*/*")),
    ("httpie chunked", (*HTTPIE, "--chunked", "PUT", "URL", "@FILE", "Accept:*/*")),
)


@pytest.mark.parametrize(("way", "command"), WAYS, ids=[way for way, _ in WAYS])
def test_clients_store_files_of_all_sizes_bit_for_bit(
    site: Website, tmp_path: Path, way: str, command: Sequence[str]
) -> None:
    for size in SIZES:
        if way == "curl chunked" and not size:
            continue  # curl 7.88 does not end the body of an empty file then
        name = f"{way.replace(' ', '-')}-{size}"
        file = file_of(tmp_path, size, name)
        places = {"FILE": str(file), "NAME": name, "URL": f"{site.url}{name}", "BASE": site.url}
        told = run(*(placed(word, places) for word in command))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert (told.returncode, told.stdout.strip()) == (0, f"ok {name} {size} sha256={digest}"), told.stderr
        assert (site.received / name).read_bytes() == file.read_bytes()


def placed(word: str, places: Mapping[str, str]) -> str:
    return re.sub("|".join(places), lambda found: places[found[0]], word)


def test_a_pipe_of_unknown_size_is_stored(site: Website) -> None:
    told = run("curl", "-sS", "-T", "-", f"{site.url}piped", given=b"x" * 3_000_000)
    assert told.stdout.startswith("ok piped 3000000 ")


def test_a_broken_upload_goes_on_with_curl_after_a_kill_of_the_daemon(tmp_path: Path) -> None:
    file = file_of(tmp_path, 20_000_003)
    with website(tmp_path) as site:
        connection = HTTPConnection("127.0.0.1", site.port)
        connection.putrequest("PUT", "/film")
        connection.putheader("Content-Length", "20000003")
        connection.endheaders(file.read_bytes()[:12_000_000])
        while (offset := offset_of(site)) < 8 << 20:
            pass
        site.kill()
        connection.close()
    with website(tmp_path, site.port) as site:
        assert offset_of(site) >= offset
        words = ("curl", "-sS", "--fail-with-body", "-C", str(offset_of(site)), "-T", file, f"{site.url}film")
        told = run(*words)
        assert told.stdout.startswith("ok film 20000003 "), told
        assert (site.received / "film").read_bytes() == file.read_bytes()


def offset_of(site: Website) -> int:
    """Return how much of the film is durable."""
    connection = HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    connection.request("HEAD", "/film")
    offset = connection.getresponse().headers.get("Upload-Offset", "0")
    connection.close()
    return int(offset)


@pytest.mark.parametrize("expects", [True, False])
def test_an_early_refusal_is_seen_by_a_client_that_sends_on(
    narrow: Website, tmp_path: Path, expects: bool
) -> None:
    url = f"{narrow.url}x"
    file = file_of(tmp_path, 20_000_003)
    expect = () if expects else ("-H", "Expect:")
    told = run("curl", "-sS", "--fail-with-body", *expect, "-T", file, url)
    assert (told.returncode, told.stdout) == (
        22,
        "error too-large: expected at most 1048576 bytes, found 20000003\n",
    )
    if not expects:
        told = run("wget", "-nv", "--content-on-error", "-O-", "--method=PUT", f"--body-file={file}", url)
        assert (told.returncode, told.stdout.startswith("error too-large: ")) == (8, True)
        assert "ERROR 413" in told.stderr
        told = run(*HTTPIE, "PUT", url, f"@{file}", "Accept:*/*")
        assert (told.returncode, told.stdout.startswith("error too-large: ")) == (4, True)


def test_a_client_of_python_sees_a_refusal_in_the_midst_of_chunks(narrow: Website) -> None:
    connection = HTTPConnection("127.0.0.1", narrow.port, timeout=PATIENCE)
    connection.request("PUT", "/x", (b"x" * 100_000 for _ in range(50)), encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (
        413,
        b"error too-large: expected at most 1048576 bytes, found more\n",
    )
    connection.close()


def test_many_requests_go_over_one_connection(site: Website) -> None:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
    for number in range(20):
        connection.request("PUT", f"/{number}", b"x" * number, {"Accept": "application/json"})
        told = json.loads(connection.getresponse().read())
        assert (told["name"], told["size"]) == (str(number), number)
    connection.request("GET", "/")
    names = {entry["name"] for entry in json.loads(connection.getresponse().read())}
    assert names >= {str(number) for number in range(20)}
    connection.close()


def test_a_received_file_is_fetched_and_a_fetch_continued(site: Website, tmp_path: Path) -> None:
    (site.received / "big").write_bytes(data := os.urandom(30_000_000))
    fetched = tmp_path / "fetched"
    fetched.write_bytes(data[:1_000_000])
    told = run("curl", "-sS", "-C", "-", "-o", fetched, f"{site.url}big")
    assert (told.returncode, fetched.read_bytes() == data) == (0, True)


def test_a_peer_that_speaks_tls_or_another_protocol_is_told(site: Website) -> None:
    for hello in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x00\x0cwhat"):
        with socket.create_connection(("127.0.0.1", site.port), PATIENCE) as connection:
            connection.sendall(hello)
            assert b"this port speaks HTTP without TLS\n" in connection.makefile("rb").read()


def test_uploads_end_in_order_when_the_daemon_stops(tmp_path: Path) -> None:
    with (
        website(tmp_path) as site,
        socket.create_connection(("127.0.0.1", site.port), PATIENCE) as connection,
    ):
        connection.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        lines = connection.makefile("rb")
        assert lines.readline() == b"HTTP/1.1 100 Continue\r\n"
        site.daemon.signal()
        connection.sendall(b"hello")
        assert b"ok a 5 " in lines.read()
        assert site.daemon.wait() == 0
        assert (site.received / "a").read_bytes() == b"hello"
