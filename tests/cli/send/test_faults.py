"""Hostile and faulty servers: each run ends with the right code, and calls nothing stored that is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sockd.cli.address import parse
from sockd.cli.send.channel import Channel
from sockd.cli.send.items import expand
from sockd.cli.send.source import BATCH, RegularFile
from tests.cli.send.servers import HELLO, Script, Serve, Talk, run, sha256

GO = b"go 0123456789abcdef 0\n"
SEND = "from sockd.cli.send.command import send; send()"
SHORT = ("--retry", "0.05s")


def after_greeting(talk: Talk, hello: bytes = b"hello continue chunks drop receipts\n") -> Talk:
    """Return a server that greets before it talks."""

    def greet(connection: socket.socket) -> None:
        while b"hello upload" not in connection.recv(1000):
            pass
        connection.sendall(hello)
        talk(connection)

    return greet


def test_a_break_is_noticed_before_the_whole_file_is_read(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 30)
    reads = 0
    read = RegularFile.read

    def counted(source: RegularFile) -> memoryview:
        nonlocal reads
        reads += 1
        return read(source)

    def breaks(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(GO)
        connection.recv(1000)

    monkeypatch.setattr(RegularFile, "read", counted)
    result = run(tmp_path / "large", serve(after_greeting(breaks)), *SHORT)
    assert result.exit_code == 3
    assert reads < (1 << 30) / BATCH / 4  # what the kernel's buffers take, for a few connections


@pytest.mark.parametrize(
    "answer",
    [
        b"go 0123456789abcdef 1000000 sha256=" + b"0" * 64 + b"\n",
        b"go 0123456789abcdef 0 md9=00\n",
        b"go 0123456789abcdef 0\nerror unknown there is none of this id\n",
        b"refused too-many only one at a time\n",
        b"hello again\n",
        b"receipt " + b"[" * 60_000 + b"\n",
        b'receipt {"size": 1}\nok report.pdf 3000000 sha256=' + b"0" * 64 + b"\n",
        b"ok report.pdf 3000000 sha256=" + b"0" * 64 + b"\n",
        b"at 1\n",
    ],
    ids=range(9),
)
def test_a_server_that_never_lets_a_file_come_to_its_end_is_given_up(
    serve: Serve, report: Path, answer: bytes
) -> None:
    def talk(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            if b"continue" in data or b"keep" in data:
                connection.sendall(answer)

    result = run(report, serve(after_greeting(talk)), *SHORT)
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    assert "cannot send" in result.stderr


@pytest.mark.parametrize("code", [b"busy", b"too-many"])
def test_a_file_that_is_not_welcome_yet_waits(serve: Serve, report: Path, code: bytes) -> None:
    digest = sha256(report.read_bytes()).encode()
    scripts = [
        Script((b"continue", b"refused " + code + b" not now\n")),
        Script((b"continue", GO), (digest, b"ok report.pdf 3000000 sha256=" + digest + b"\n")),
    ]
    result = run(report, serve(lambda peer: scripts.pop(0)(peer)))
    assert result.exit_code == 0, result.output


def test_a_refusal_within_the_data_is_followed_by_a_new_connection(
    serve: Serve, report: Path, tmp_path: Path
) -> None:
    """The server may wait for the rest of the data: what came next would be taken for that."""
    (tmp_path / "fifo").symlink_to(report)
    digest = sha256(report.read_bytes()).encode()
    scripts = [
        Script((b"continue", GO + b"refused quota that is enough\n")),
        Script((b"continue", GO), (digest, b"ok fifo 3000000 sha256=" + digest + b"\n")),
    ]
    sent = [*scripts]
    files = (report, tmp_path / "fifo")
    result = run(*files, serve(lambda peer: scripts.pop(0)(peer)), "--parallel", "1")
    assert result.exit_code == 1
    assert b"continue" not in sent[0].got[10:]
    assert f"sent {tmp_path}/fifo" in result.stdout


def test_a_pipe_that_was_read_is_not_read_a_second_time(serve: Serve, tmp_path: Path) -> None:
    """A server that knows no chunks gets a copy, whose size is known and small."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"hello",))
    scripts = [
        Script((b"keep", GO), (HELLO, b""), hello=b"hello drop\n"),
        Script((b"resume", GO), (HELLO, b"ok fifo 5 sha256=" + HELLO + b"\n"), hello=b"hello drop\n"),
    ]
    sent = [*scripts]
    writer.start()
    result = run(fifo, serve(lambda peer: scripts.pop(0)(peer)))
    writer.join()
    assert result.exit_code == 0, result.output
    assert sent[1].got == b"resume 0123456789abcdef\nhellosha256=" + HELLO + b"\n"


def test_a_small_file_that_has_become_a_pipe_is_not_sent(serve: Serve, hello: Path, tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    def hello_then_pipe(connection: socket.socket) -> None:
        hello.unlink()
        os.mkfifo(hello)
        after_greeting(talk)(connection)

    result = run(hello, serve(hello_then_pipe))
    assert (result.exit_code, result.stdout) == (4, "")


def test_an_upload_that_was_begun_anew_goes_on_after_a_break(serve: Serve, report: Path) -> None:
    data = report.read_bytes()
    digest = sha256(data).encode()
    half = sha256(data[:1_500_000]).encode()
    other = b"go 0123456789abcdef 1000000 sha256=" + b"0" * 64 + b"\n"
    scripts = [
        Script((b"continue", other)),
        Script((b"keep", b"go fedcba9876543210 0\n"), (digest, b"at 1500000\n"), (b"", b"")),
        Script(
            (b"continue", b"go fedcba9876543210 1500000 sha256=" + half + b"\n"),
            (digest, b"ok report.pdf 3000000 sha256=" + digest + b"\n"),
        ),
    ]
    sent = [*scripts]
    result = run(report, serve(lambda peer: scripts.pop(0)(peer)))
    assert result.exit_code == 0, result.output
    line = b"continue fedcba9876543210 3000000 sha256 report.pdf\n"
    assert sent[2].got.startswith(line + data[1_500_000:1_500_100])


def test_a_server_that_says_without_end_takes_no_memory(serve: Serve) -> None:
    def talk(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"at 1\n" * 10_000)

    channel = Channel(parse(serve(talk)), lambda: False)
    while channel.send(bytes(1 << 20)):
        pass
    lines = 0
    while channel.heard():
        lines += 1
    channel.close()
    assert lines < 1 << 19


def receipt(data: bytes, **changed: object) -> bytes:
    told = {"receipt": 1, "size": len(data), "digests": {"sha256": sha256(data)}, **changed}
    return b"receipt " + json.dumps(told).encode() + b"\n"


def test_receipts_are_written_as_the_server_has_signed_them_and_none_is_replaced(
    serve: Serve, hello: Path, tmp_path: Path
) -> None:
    ok = b"ok ../../evil 5 sha256=" + HELLO + b"\n"
    address = serve(lambda peer: Script((b"hello", receipt(b"hello") + ok), hello=b"hello receipts\n")(peer))
    for _ in range(2):
        result = run(hello, address, "--receipts", tmp_path / "receipts")
        assert result.exit_code == 0, result.output
    written = {path.name: path.read_bytes() for path in (tmp_path / "receipts").iterdir()}
    assert written == dict.fromkeys(
        ("a b.receipt.json", "a b (2).receipt.json"), receipt(b"hello").removeprefix(b"receipt ")
    )


@pytest.mark.parametrize(("told", "code"), [(b"", 4), (receipt(b"hello", size=6), 3), (b"receipt x\n", 3)])
def test_a_missing_or_wrong_receipt_is_told(
    serve: Serve, hello: Path, tmp_path: Path, told: bytes, code: int
) -> None:
    ok = b"ok a 5 sha256=" + HELLO + b"\n"
    script = Script((b"hello", told + ok), hello=b"hello receipts\n")
    result = run(hello, serve(script), "--receipts", tmp_path / "receipts", *SHORT)
    assert result.exit_code == code
    assert not (tmp_path / "receipts").exists()


def test_standard_input_that_is_closed_is_unreadable() -> None:
    arguments = [sys.executable, "-c", SEND, "-", "tcp:127.0.0.1:1", "--name", "a"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert done.stderr == "cannot send - to tcp:127.0.0.1:1: bad file descriptor\n"


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty", "tcp:127.0.0.1:1")
    assert (result.exit_code, result.stderr) == (0, "there is no file to send\n")


@pytest.mark.parametrize("path", ["..", "../../photos", "../.", "../inner/.."])
def test_a_folder_has_its_name_however_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    (tmp_path / "photos" / "a").touch()
    monkeypatch.chdir(tmp_path / "photos" / "inner")
    items = expand((path,), None, False, lambda *_: None, lambda *_: None)
    assert [item.name for item in items] == ["photos/a"]


@pytest.mark.parametrize("option", [("--receipts", "r"), ("--digest", "sha256")])
def test_what_a_web_server_cannot_give_is_wrong_usage(hello: Path, option: tuple[str, str]) -> None:
    assert run(hello, "http://127.0.0.1:1/", *option).exit_code == 2
