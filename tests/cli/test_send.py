import hashlib
import os
import pty
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue

import pytest
from click.testing import CliRunner, Result
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from typing_extensions import override

from sockd.cli.send import NotSentError, put, send
from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.storage.store import PARTS

Talk = Callable[[socket.socket], None]
Serve = Callable[[Talk], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that talk to one connection after another; return their addresses."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(talk: Talk) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with suppress(OSError):  # the listener was shut down
                while True:
                    with listener.accept()[0] as connection:
                        talk(connection)

        listeners.append(listener)
        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return f"tcp:127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


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
    plugin = Files.model_validate({"directory": folder, "max_size": 10 << 20, "reserve": 0})
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
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PARTS}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(send, [str(argument) for argument in arguments])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.pdf"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_files_arrive_and_each_gets_a_line(files: str, folder: Path, report: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    result = run(report, tmp_path / "empty", files)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"sent {report} (2.9 MiB, sha256 {sha256(report.read_bytes())})\n"
        f"sent {tmp_path}/empty (0 bytes, sha256 {sha256(b'')})\n"
    )
    assert received(folder) == {"report.pdf": report.read_bytes(), "empty": b""}


def test_the_name_that_the_server_gave_is_told(files: str, folder: Path, report: Path) -> None:
    assert f"sent {report} (2.9" in run(report, files).stdout
    report.write_bytes(report.read_bytes()[::-1])
    assert f"sent {report} as report (2).pdf (2.9" in run(report, files).stdout
    assert len(received(folder)) == 2


def test_a_file_can_be_sent_under_another_name(files: str, folder: Path, report: Path) -> None:
    assert run(report, files, "--name", "für dich.pdf").exit_code == 0
    assert list(received(folder)) == ["für dich.pdf"]


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
    (tmp_path / "dir").mkdir()
    bad = [tmp_path / name for name in ("missing", "dir", "...", "huge")]
    result = run(*bad, report, files)
    assert result.exit_code == 1
    missing, directory, name, size = result.stderr.splitlines()
    assert missing == f"cannot send {tmp_path}/missing to {files}: no such file or directory"
    assert directory == f"cannot send {tmp_path}/dir to {files}: is a directory"
    assert name.startswith(f"cannot send {tmp_path}/... to {files}: refused (bad-name): ")
    assert size.startswith(f"cannot send {tmp_path}/huge to {files}: refused (too-large): ")
    assert received(folder) == {"report.pdf": report.read_bytes()}
    assert result.stdout.count("\n") == 1


def test_a_service_that_is_not_there_is_one_line_for_each_file(report: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    result = run(report, report, address)
    assert result.exit_code == 1
    assert result.stderr == f"cannot send {report} to {address}: connection refused\n" * 2


def silent(_: socket.socket) -> None:
    """Accept, and close."""


def no_data(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"go\n")


def a_bit(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"go\n")
    connection.recv(1000)


def reset(connection: socket.socket) -> None:
    a_bit(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("talk", [silent, no_data, a_bit, reset])
def test_a_server_that_closes_in_the_middle_is_one_line(serve: Serve, report: Path, talk: Talk) -> None:
    result = run(report, serve(talk))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"cannot send {report} to tcp:127.0.0.1:")


def test_another_protocol_is_told_so(serve: Serve, report: Path) -> None:
    result = run(report, serve(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")))
    assert result.exit_code == 1
    assert result.stderr.endswith("the server speaks another protocol\n")


def test_a_server_that_does_not_answer_is_told_with_a_hint_and_reset(
    serve: Serve, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockd.cli.send._GO_TIMEOUT", 0.1)
    ends: SimpleQueue[str] = SimpleQueue()

    def keep(connection: socket.socket) -> None:
        try:
            while connection.recv(65536):
                pass
            ends.put("end")
        except ConnectionResetError:
            ends.put("reset")

    result = run(report, serve(keep), "--name", "a")
    assert result.exit_code == 1
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


# one file over one connection


def exchange(
    answers: bytes, data: bytes = b"hello", name: str = "a", size: int | None = None
) -> tuple[str, bytes]:
    """Send to a server that answers at once; return the result, and what that server received."""
    size = len(data) if size is None else size
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(answers)
        with ours:
            try:
                outcome = put(ours, name, BytesIO(data), size, lambda _: None).name
            except NotSentError as error:
                outcome = f"not sent: {error}"
        with suppress(ConnectionResetError):  # unread answers
            return outcome, b"".join(iter(lambda: theirs.recv(65536), b""))
        return outcome, b""


HELLO = sha256(b"hello").encode()


def test_the_digest_follows_the_data() -> None:
    name, sent = exchange(b"go\nok a b (2) 5 sha256=" + HELLO + b"\n", name="a b")
    assert name == "a b (2)"
    assert sent == b"put 5 sha256 a b\nhellosha256=" + HELLO + b"\n"


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
        b"x" * 10_000,
        b"error",
        b"error io",
        b"error io the disk is \x1b[31mgone",
    ],
)
def test_nothing_but_the_right_size_and_digest_is_a_success(answer: bytes) -> None:
    outcome, _ = exchange(b"go\n" + answer + b"\n")
    assert outcome.startswith("not sent: ")
    assert outcome.isprintable()


@pytest.mark.parametrize("name", ["a\nput 0 - b", "a\udcff"])
def test_a_name_that_is_no_line_is_not_sent(name: str) -> None:
    outcome, sent = exchange(b"", name=name)
    assert outcome.startswith("not sent: its name ")
    assert sent == b""


def test_a_file_that_became_shorter_is_not_sent() -> None:
    outcome, sent = exchange(b"go\n", data=b"hello", size=6)
    assert outcome == "not sent: the file became shorter while it was sent"
    assert sent == b"put 6 sha256 a\nhello"


def test_an_error_ends_the_sending_early() -> None:
    ours, theirs = socket.socketpair()
    sent = 0

    def advance(count: int) -> None:
        nonlocal sent
        sent += count
        theirs.recv(1 << 20)
        if sent == count:
            theirs.sendall(b"error disk-full no space left on device\n")

    with ours, theirs:
        theirs.sendall(b"go\n")
        with pytest.raises(NotSentError, match=r"refused \(disk-full\): no space left on device"):
            put(ours, "a", BytesIO(bytes(10 << 20)), 10 << 20, advance)
    assert sent < 1 << 20


def test_a_server_that_is_gone_before_the_digest_has_not_stored_the_file() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"go\n")
        with pytest.raises(NotSentError, match="without an answer"):
            put(ours, "a", BytesIO(b"hello"), 5, lambda _: theirs.close())


# the terminal


SEND = "from sockd.cli.send import send; send()"


def test_a_bar_is_shown_on_a_terminal_and_the_result_stays(files: str, report: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SEND, str(report), files]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert "MB" in shown
    assert done.stdout.decode().startswith(f"sent {report} (2.9 MiB, ")


def test_sending_needs_neither_twisted_nor_rich() -> None:
    code = "import sys, sockd.cli.send; print({'twisted', 'rich', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
