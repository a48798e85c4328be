import json
import os
import pty
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from typing_extensions import override

from sockd.cli.send import service as service_module
from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.storage.store import PARTS
from tests.cli.send.servers import HELLO, Script, Serve, Talk, blake, run, sha256


class SocketTransport(StringTransport):
    """Transport that writes to a socket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._connection = connection

    @override
    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def loseWriteConnection(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


def service(serve: Serve, folder: Path, protocol: str, hurry: float = 0.0) -> Iterator[str]:
    plugin = Files.model_validate({"directory": folder, "max_size": 10 << 20, "reserve": 0, "folders": True})
    clock = Clock()
    context = Context("files", clock, Logger("sockd.files"), folder)
    assert Deferred.fromCoroutine(plugin.start(context)).called
    factory = plugin.stream_factory(protocol, context)

    def talk(connection: socket.socket) -> None:
        peer = IProtocol(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000)))
        transport = SocketTransport(connection)
        peer.makeConnection(transport)
        while data := connection.recv(65536):
            peer.dataReceived(data)
            clock.advance(hurry)
        peer.readConnectionLost()  # type: ignore[attr-defined]

    yield serve(talk)
    plugin._engine.stop()


@pytest.fixture
def files(serve: Serve, folder: Path) -> Iterator[str]:
    """Return the address of the real service."""
    yield from service(serve, folder, "upload")


def received(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and PARTS not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_files_arrive_and_each_gets_a_line(files: str, folder: Path, report: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    result = run(report, tmp_path / "empty", files)
    assert result.exit_code == 0
    assert set(result.stdout.splitlines()) == {
        f"sent {report} (2.9 MiB, blake3 {blake(report.read_bytes())})",
        f"sent {tmp_path}/empty (0 bytes, blake3 {blake(b'')})",
    }
    assert result.stderr.startswith("2 of 2 files stored, 2.9 MiB in ")
    assert received(folder) == {"report.pdf": report.read_bytes(), "empty": b""}


def test_the_digest_can_be_chosen(files: str, report: Path) -> None:
    result = run(report, files, "--digest", "sha256")
    assert result.stdout == f"sent {report} (2.9 MiB, sha256 {sha256(report.read_bytes())})\n"


def test_a_folder_arrives_with_all_that_is_in_it(files: str, folder: Path, tmp_path: Path) -> None:
    sent = {"photos/a": b"1", "photos/deep/b": b"2", "photos/deep/er/c": os.urandom(300_000)}
    for name, data in sent.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "photos/link").symlink_to(tmp_path / "photos/a")
    (tmp_path / "photos/loop").symlink_to(tmp_path / "photos")
    os.mkfifo(tmp_path / "photos/pipe")
    result = run(tmp_path / "photos", files)
    assert result.exit_code == 0
    assert received(folder) == sent
    assert result.stderr.splitlines()[:3] == [
        f"skipped {tmp_path}/photos/link: a symbolic link",
        f"skipped {tmp_path}/photos/loop: a symbolic link",
        f"skipped {tmp_path}/photos/pipe: a pipe",
    ]
    result = run(tmp_path / "photos", files, "--follow", "--name", "again")
    assert result.exit_code == 0
    assert received(folder)["again/link"] == b"1"
    assert f"skipped {tmp_path}/photos/loop: a folder that is sent already" in result.stderr


def test_many_small_files_and_refused_ones_among_them_have_an_outcome_each(
    files: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / f"many/{'.' if number % 50 == 7 else ''}{number}").write_bytes(b"%d" % number * number)
    result = run(tmp_path / "many", files, "--json")
    *outcomes, summary = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert summary["summary"]["stored"] == 294
    assert summary["summary"]["refused"] == 6
    assert len(outcomes) == 300
    for outcome in outcomes:
        path = Path(outcome["file"])
        assert (outcome["status"] == "refused") == path.name.startswith(".")
        if outcome["status"] == "stored":
            assert (folder / outcome["name"]).read_bytes() == path.read_bytes()
            assert outcome["digest"] == f"blake3={blake(path.read_bytes())}"


def test_the_name_that_the_server_gave_is_told(files: str, folder: Path, report: Path) -> None:
    assert f"sent {report} (2.9" in run(report, files).stdout
    report.write_bytes(report.read_bytes()[::-1])
    assert f"sent {report} as report (2).pdf (2.9" in run(report, files).stdout
    assert len(received(folder)) == 2


def test_a_file_can_be_sent_under_another_name(files: str, folder: Path, report: Path) -> None:
    assert run(report, files, "--name", "für dich.pdf").exit_code == 0
    assert list(received(folder)) == ["für dich.pdf"]


def test_a_file_that_tells_no_size_is_sent_whole(files: str, folder: Path) -> None:
    assert run("/proc/version", files).exit_code == 0
    assert received(folder) == {"version": Path("/proc/version").read_bytes()}


@pytest.fixture
def stdin() -> Iterator[Callable[[Path], None]]:
    kept = os.dup(0)
    opened: list[int] = []

    def redirect(path: Path) -> None:
        opened.append(os.open(path, os.O_RDONLY))
        os.dup2(opened[-1], 0)

    yield redirect
    os.dup2(kept, 0)
    for file in [kept, *opened]:
        os.close(file)


def test_standard_input_is_sent_from_where_it_stands(
    files: str, folder: Path, report: Path, stdin: Callable[[Path], None]
) -> None:
    stdin(report)
    os.read(0, 1000)
    assert run("-", files, "--name", "rest").exit_code == 0
    assert received(folder) == {"rest": report.read_bytes()[1000:]}


def test_a_pipe_is_sent_although_it_has_no_size(files: str, folder: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"x" * 200_000,))
    writer.start()
    result = run(fifo, files)
    writer.join()
    assert result.exit_code == 0
    assert received(folder) == {"fifo": b"x" * 200_000}


def test_a_failed_file_gets_one_line_and_the_rest_is_sent(
    files: str, folder: Path, report: Path, tmp_path: Path
) -> None:
    (tmp_path / "...").write_bytes(b"")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 11 << 20)
    bad = [tmp_path / name for name in ("missing", "...", "huge")]
    result = run(*bad, report, files)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    missing, name, size = (
        next(line for line in lines if f"/{path} " in line) for path in ("missing", "...", "huge")
    )
    assert missing == f"cannot send {tmp_path}/missing to {files}: no such file or directory"
    assert name.startswith(f"cannot send {tmp_path}/... to {files}: refused (bad-name): ")
    assert size.startswith(f"cannot send {tmp_path}/huge to {files}: refused (too-large): ")
    assert received(folder) == {"report.pdf": report.read_bytes()}
    assert result.stdout.count("\n") == 1


def test_a_service_that_is_not_there_is_one_line_for_each_file(report: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    result = run(report, report, address)
    assert result.exit_code == 3
    lines = [f"cannot send {report} to {address}: connection refused"] * 2
    assert result.stderr.splitlines()[:2] == lines


def silent(_: socket.socket) -> None:
    """Accept, and close."""


def greets(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"hello continue\n")


def asks(connection: socket.socket) -> None:
    greets(connection)
    connection.recv(1000)
    connection.sendall(b"go 0123456789abcdef 0\n")
    connection.recv(1000)


def reset(connection: socket.socket) -> None:
    asks(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("talk", [silent, greets, asks, reset])
def test_a_server_that_closes_in_the_middle_is_one_line(serve: Serve, report: Path, talk: Talk) -> None:
    result = run(report, serve(talk), "--retry", "0.1s")
    assert result.exit_code == 3
    failures = [line for line in result.stderr.splitlines() if line.startswith("cannot send")]
    assert len(failures) == 1
    assert failures[0].startswith(f"cannot send {report} to tcp:127.0.0.1:")


def test_another_protocol_is_told_so(serve: Serve, report: Path) -> None:
    result = run(report, serve(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))
    assert result.exit_code == 1
    assert result.stderr.endswith("the server speaks another protocol\n")


def test_a_server_that_does_not_answer_is_told_with_a_hint_and_reset(
    serve: Serve, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "GREETING_SECONDS", 0.1)
    ends: SimpleQueue[str] = SimpleQueue()

    def keep(connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                pass
            ends.put("end")
        except ConnectionResetError:
            ends.put("reset")

    result = run(report, serve(keep), "--name", "a")
    assert result.exit_code == 3
    assert "no answer for 0 seconds" in result.stderr
    assert "another protocol than 'upload'" in result.stderr
    assert ends.get(timeout=30) == "reset"


@pytest.fixture
def raw(serve: Serve, folder: Path) -> Iterator[str]:
    """Return the address of the real service that speaks `raw`, with a wait of 0 instead of 2 seconds."""
    yield from service(serve, folder, "raw", hurry=2.0)


def test_a_port_that_takes_raw_files_says_so_and_keeps_nothing(raw: str, folder: Path, report: Path) -> None:
    result = run(report, raw)
    assert result.exit_code == 1
    assert "refused (bad-request): this port speaks 'raw'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert received(folder) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tcp:7009"],
        ["-", "tcp:7009"],
        ["a", "udp:7009"],
        ["a", "nonsense"],
        ["a", "b", "tcp:7009", "--name", "c"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


# a server that says what it likes


def test_a_small_file_is_sent_with_its_digest_and_without_a_wait(serve: Serve, hello: Path) -> None:
    script = Script((b"hello", b"ok a b (2) 5 sha256=" + HELLO + b"\n"))
    result = run(hello, serve(script))
    assert (result.exit_code, script.got) == (0, b"put 5 sha256=" + HELLO + b" a b\nhello")
    assert f"sent {hello} as a b (2) (5 bytes" in result.stdout


def test_a_file_that_was_there_already_is_told(serve: Serve, hello: Path) -> None:
    result = run(hello, serve(Script((b"hello", b"had a b 5 sha256=" + HELLO + b"\n"))))
    assert (result.exit_code, result.stdout[:14]) == (0, "there already:")


@pytest.mark.parametrize(
    "answer",
    [
        b"ok a 5 sha256=" + b"0" * 64,
        b"ok a 4 sha256=" + HELLO,
        b"ok a five sha256=" + HELLO,
        b"ok a",
        b"ok",
        b"",
        b"thanks",
        b"yes a 5 sha256=" + HELLO,
        b"ok a 5 md5=" + HELLO,
        b"x" * 100_000,
        b"error",
        b"error io",
        b"refused io",
        b"error io the disk is \x1b[31mgone",
    ],
)
def test_nothing_but_the_right_size_and_digest_is_a_success(serve: Serve, hello: Path, answer: bytes) -> None:
    result = run(hello, serve(Script((b"hello", answer + b"\n"), (b"", b""))), "--retry", "0.01s")
    assert result.exit_code in (1, 3)
    assert result.stdout == ""
    assert result.stderr.replace("\n", "").isprintable()


def test_a_refusal_in_the_middle_leaves_a_clear_state(serve: Serve, folder: Path, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"hello")
    scripts = [
        Script((b"hello", b"ok a 5 sha256=" + HELLO + b"\nerror disk-full no space left\n"), (b"", b"")),
        Script((b"hello", b"ok c 5 sha256=" + HELLO + b"\n")),
    ]
    address = serve(lambda peer: scripts.pop(0)(peer))
    result = run(*(tmp_path / name for name in "abc"), address, "--parallel", "1")
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.stdout.splitlines()] == [f"{tmp_path}/a", f"{tmp_path}/c"]
    assert f"cannot send {tmp_path}/b to " in result.stderr


def test_a_name_that_is_no_line_is_not_sent(files: str, hello: Path) -> None:
    result = run(hello, files, "--name", "a\nput 0 - b")
    assert result.exit_code == 4
    assert "its name is not one line of UTF-8" in result.stderr


def test_a_server_of_before_gets_what_it_knows(serve: Serve, hello: Path, report: Path) -> None:
    data = report.read_bytes()
    digest = sha256(data).encode()
    of_before = b"error bad-request expected 'put SIZE DIGEST NAME', found 'hello upload'\n"
    script = Script(
        (b"hello", b"go\nok a b 5 sha256=" + HELLO + b"\n"),
        (b"keep", b"go 0123456789abcdef 0\nat 1000\n"),
        (digest, b"ok report.pdf 3000000 sha256=" + digest + b"\n"),
    )

    def talk(connection: socket.socket) -> None:
        if connection.recv(6, socket.MSG_PEEK).startswith(b"hello"):
            connection.sendall(of_before)
            return
        for awaited, answer in script.steps:
            while awaited not in script.got and (data := connection.recv(65536)):
                script.got += data
            connection.sendall(answer)
        connection.recv(1)

    result = run(hello, report, serve(talk), "--parallel", "1")
    assert result.exit_code == 0, result.output
    put, keep = script.got.split(b"\n", 1)[0], script.got.split(b"hello", 1)[1]
    assert put == b"put 5 sha256=" + HELLO + b" a b"
    assert keep == b"keep 3000000 sha256 report.pdf\n" + data + b"sha256=" + digest + b"\n"


def test_an_upload_of_another_content_is_dropped_and_begun_anew(serve: Serve, report: Path) -> None:
    data = report.read_bytes()
    digest = sha256(data).encode()
    scripts = [
        Script((b"continue", b"go 0123456789abcdef 1000000 sha256=" + b"0" * 64 + b"\n")),
        Script(
            (b"keep", b"go fedcba9876543210 0\n"),
            (digest, b"ok report.pdf 3000000 sha256=" + digest + b"\n"),
        ),
    ]
    sent = [*scripts]
    result = run(report, serve(lambda peer: scripts.pop(0)(peer)))
    assert result.exit_code == 0, result.output
    assert sent[0].got == b"continue - 3000000 sha256 report.pdf\n"
    assert sent[1].got.startswith(b"drop 0123456789abcdef\nkeep 3000000 sha256 report.pdf\n" + data[:1000])


def test_a_file_that_changes_while_it_is_sent_is_told_and_dropped(serve: Serve, report: Path) -> None:
    got = []

    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"hello continue drop\n")
        line = connection.recv(1000)
        got.append(line)
        if line.startswith(b"continue"):
            os.truncate(report, 1000)
            connection.sendall(b"go 0123456789abcdef 0\n")
        while connection.recv(65536):
            pass

    result = run(report, serve(talk))
    assert result.exit_code == 4
    assert result.stderr.endswith(": the file changed while it was sent\n")
    end = time.monotonic() + 30
    while len(got) < 2 and time.monotonic() < end:  # the server may read it later
        time.sleep(0.01)
    assert got[1:] == [b"drop 0123456789abcdef\n"]


def test_a_pipe_is_sent_in_chunks_and_resumed_without_a_copy(serve: Serve, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"hello",))
    told = b"go 0123456789abcdef 2 sha256=" + sha256(b"he").encode() + b"\n"
    scripts = [
        Script((b"continue", b"go 0123456789abcdef 0\n"), (HELLO, b"at 2\n"), (b"", b"")),
        Script((b"continue", told), (HELLO, b"ok fifo 5 sha256=" + HELLO + b"\n")),
    ]
    sent = [*scripts]
    writer.start()
    result = run(fifo, serve(lambda peer: scripts.pop(0)(peer)))
    writer.join()
    assert result.exit_code == 0, result.output
    assert sent[0].got == b"continue - - sha256 fifo\n5\nhello0\nsha256=" + HELLO + b"\n"
    assert sent[1].got == b"continue 0123456789abcdef - sha256 fifo\n3\nllo0\nsha256=" + HELLO + b"\n"


# the terminal


SEND = "from sockd.cli.send.command import send; send()"


def test_a_bar_is_shown_on_a_terminal_and_the_result_stays(files: str, report: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SEND, str(report), files]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "MiB" in shown
    assert done.stdout.decode().startswith(f"sent {report} (2.9 MiB, ")


def test_sending_needs_neither_twisted_nor_rich() -> None:
    code = "import sys, sockd.cli.send.command; print({'twisted', 'rich', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
