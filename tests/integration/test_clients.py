"""Clients of the `sockd` command: under TLS, on a terminal, and their exit codes."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon
from serving import serving
from tests.tls.authority import issue

SOCKD = BIN / "sockd"

CONFIG = """
[service.echo]
plugin = "echo"
listen = [
  "udp:0:interface=127.0.0.1",
  "tcp:0:interface=127.0.0.1",
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } },
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "old.pem" } },
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem", client_ca = "root.pem" } },
  { endpoint = "unix:run/echo.sock", tls = { certificate = "server.pem" } },
]
[service.time]
plugin = "time"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]
[service.chat]
plugin = "chat"
listen = [
  "tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1",
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } },
]
[service.banner]
plugin = "banner"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]
options.text = "This is socket!"
[service.files]
plugin = "files"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "upload", tls = { certificate = "server.pem" } },
]
options.directory = "received"
"""
PLAIN, TLS, EXPIRED, ASKING = 0, 1, 2, 3
"""Listeners of the echo."""


class Served:
    """Daemon, and commands in its folder."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder = folder
        self.daemon = daemon

    def port(self, service: str, which: int = 0, kind: str = "tcp") -> int:
        return self.daemon.port(service, kind, which)[1]

    def sockd(self, *words: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [SOCKD, *words],
            input=text,
            capture_output=True,
            timeout=PATIENCE,
            cwd=self.folder,
            check=False,
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clients")
    root = issue("root", authority=True)
    (folder / "root.pem").write_bytes(root.pem)
    names = ("localhost", "127.0.0.1")
    now = datetime.now(UTC)
    for name, issued in {
        "server": issue(*names, issuer=root),
        "old": issue(*names, issuer=root, ends=now - timedelta(days=1)),
        "client": issue("client", issuer=root),
        "stranger": issue("stranger", authority=True),
    }.items():
        (folder / f"{name}.pem").touch(mode=0o600)
        (folder / f"{name}.pem").write_bytes(issued.chain + issued.key_pem())
    locked = issue("client", issuer=root)
    (folder / "locked.pem").write_bytes(locked.chain)
    (folder / "locked.key").write_bytes(locked.key_pem(b"secret"))
    with serving(folder, CONFIG, "uv") as daemon:
        yield Served(folder, daemon)


# TLS.


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_is_verified_by_its_name_or_address(served: Served, host: str) -> None:
    done = served.sockd("connect", f"tls:{host}:{served.port('echo', TLS)}", "--ca", "root.pem", text=b"hi\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"hi\n", b"", 0)


def test_large_input_goes_through_tls_unchanged_and_its_end_is_told(served: Served) -> None:
    data = os.urandom(3_000_000)
    port = served.port("echo", TLS)
    assert served.sockd("connect", f"tcp:{port}", "--tls", "-k", text=data).stdout == data


def test_a_servers_first_data_is_shown_before_any_input(served: Served) -> None:
    done = served.sockd("connect", f"tls:{served.port('banner')}", "-k")
    assert (done.stdout, done.returncode) == (b"This is socket!", 0)


@pytest.mark.parametrize(
    ("which", "words", "why"),
    [
        (TLS, "", "name its authority with --ca FILE, or skip the verification with --insecure"),
        (TLS, "--ca stranger.pem", "name its authority with --ca FILE"),
        (TLS, "--ca root.pem --server-name other.example", "its certificate is not for 'other.example'"),
        (EXPIRED, "--ca root.pem", "its certificate has expired"),
        (ASKING, "-k", "the server requires a client certificate: give one with --cert FILE"),
        (ASKING, "-k --cert server.pem --key client.pem", "expected a certificate and its key in PEM"),
        (ASKING, "-k --cert locked.pem --key locked.key", "the private key is encrypted"),
        (TLS, "--ca sockd.toml", "expected certificates in PEM"),
        (PLAIN, "-k", "no TLS is spoken there"),
    ],
)
def test_why_there_is_no_tls_is_told_in_one_line(served: Served, which: int, words: str, why: str) -> None:
    address = f"tls:127.0.0.1:{served.port('echo', which)}"
    done = served.sockd("connect", address, *words.split(), text=b"hi\n")
    assert why in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert (done.stdout, done.returncode) == (b"", 1)


def test_a_client_certificate_is_shown_and_a_unix_socket_has_the_name_that_it_is_given(
    served: Served,
) -> None:
    words = ("--ca", "root.pem", "--cert", "client.pem")
    done = served.sockd("connect", f"tls:localhost:{served.port('echo', ASKING)}", *words, text=b"in")
    assert done.stdout == b"in"
    path = f"unix:{served.daemon.path('echo')}"
    assert b"--server-name" in served.sockd("connect", path, "--tls", *words, text=b"in").stderr
    named = served.sockd("connect", path, *words, "--server-name", "localhost", text=b"in")
    assert named.stdout == b"in"


def test_time_chat_and_send_speak_tls(served: Served) -> None:
    (served.folder / "file").write_bytes(os.urandom(500_000))
    ca = ("--ca", "root.pem")
    assert re.fullmatch(rb"\d{4}\n", served.sockd("time", f"tls:{served.port('time')}", "%Y", *ca).stdout)
    said = served.sockd("chat", f"tls:{served.port('chat', TLS)}", *ca, "-n", "tess", text=b"/who\n")
    assert b"in lobby: tess" in said.stdout
    assert said.returncode == 0
    sent = served.sockd("send", "file", f"tls:{served.port('files')}", *ca)
    assert sent.returncode == 0, sent.stderr


@pytest.mark.parametrize(
    ("command", "service", "which"), [("connect", "echo", TLS), ("time", "time", 0), ("chat", "chat", 1)]
)
def test_a_plain_client_of_a_tls_port_is_told_so(
    served: Served, command: str, service: str, which: int
) -> None:
    done = served.sockd(command, f"tcp:{served.port(service, which)}", text=b"hi\n")
    assert b"TLS is spoken there: connect with --tls" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("words", ["udp:7 --tls", "tcp:7 --key client.pem", "tls:7 --ca missing.pem"])
def test_options_that_make_no_sense_are_a_wrong_command_line(served: Served, words: str) -> None:
    assert served.sockd("connect", *words.split()).returncode == 2


# Exit codes.


@contextmanager
def peer(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(PATIENCE)


def reset(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_connection_that_is_reset_is_a_failure(served: Served) -> None:
    with peer(reset) as port:
        done = served.sockd("connect", f"tcp:{port}", text=b"x")
    assert done.returncode == 1
    assert b"reset" in done.stderr


def test_a_connection_that_is_closed_before_all_was_sent_is_a_failure(served: Served) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"full\n")

    with peer(refuse) as port:
        done = served.sockd("connect", f"tcp:{port}", text=b"x" * 30_000_000)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_a_tls_connection_that_is_cut_is_a_failure(served: Served) -> None:
    def relay(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", served.port("echo", TLS)), PATIENCE) as server:
            moved = 0
            while moved < 2000:
                for one in select.select([connection, server], [], [], PATIENCE)[0]:
                    other = server if one is connection else connection
                    data = one.recv(65_536)
                    other.sendall(data)
                    moved += len(data)

    with peer(relay) as port:
        done = served.sockd("connect", f"tls:{port}", "-k", text=b"x" * 3000)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_datagrams_without_an_answer_are_a_failure_and_none_at_all_are_not(served: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"udp:{silent.getsockname()[1]}"
        done = served.sockd("connect", address, "--wait", "0.1", text=b"x\n")
        assert (done.stderr.count(b"no answer within 0.1 s"), done.returncode) == (1, 1)
        assert served.sockd("connect", address, "--wait", "0.1").returncode == 0
        assert served.sockd("time", address, "--timeout", "0.1").returncode == 1
    for command in ("connect", "time", "chat"):
        done = served.sockd(command, address, text=b"x\n")  # the server has gone
        assert done.returncode == 1
        assert b"connection refused" in done.stderr


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_chat_name_that_cannot_be_had_is_a_failure_in_a_pipe(served: Served, kind: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port("chat")), PATIENCE) as taken:
        taken.sendall(b"uma\n")
        with taken.makefile("rb") as lines:
            assert lines.readline() + lines.readline()
        done = served.sockd("chat", f"{kind}:{served.port('chat', kind=kind)}", "-n", "uma", text=b"hi\n")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_quit_and_the_end_of_the_input_leave_a_chat_over_datagrams(served: Served) -> None:
    address = f"udp:{served.port('chat', kind='udp')}"
    for text in (b"/quit\nnot said\n", b"", b"/QUIT now\n"):
        done = served.sockd("chat", address, "-n", "vic", text=text)  # the name is free each time
        assert (done.stderr, done.returncode) == (b"", 0)
        assert done.stdout.startswith(b"* you are vic in lobby")


@pytest.mark.parametrize("redirected", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_as_good_as_empty_ones(served: Served, redirected: str) -> None:
    command = f"exec {SOCKD} connect tcp:{served.port('echo')} {redirected}"
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)


@pytest.mark.parametrize("words", ["connect tcp:{}", "chat tcp:{} -n x", "schema"])
def test_output_that_cannot_be_written_is_told_in_one_line(served: Served, words: str) -> None:
    port = served.port("chat" if "chat" in words else "echo")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [SOCKD, *words.format(port).split()],
            input=b"hello\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stderr.endswith(b": no space left on device\n")
    assert (done.stderr.count(b"\n"), done.returncode) == (1, 1)


def test_a_name_or_format_that_is_no_text_is_refused_in_one_line(served: Served) -> None:
    chat, clock = f"tcp:{served.port('chat')}", f"tls:{served.port('time')}"
    for words in (("chat", chat, "-n", "\udcff"), ("time", clock, "-k", "\udcff")):
        done = served.sockd(*words)
        assert (done.stderr.count(b"\n"), done.returncode) == (1, 1)
    assert served.sockd("chat", chat, "-n", "a\nb").returncode == 2


# The terminal.


class Terminal:
    """Command on a terminal of its own, and the text on it."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self.fd, inside = pty.openpty()
        environ = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [SOCKD, *words], stdin=inside, stdout=inside, stderr=inside, env=environ, cwd=cwd, close_fds=True
        )
        os.close(inside)
        self.shown = ""

    def types(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, wanted: str) -> None:
        """Wait for a text after the one that was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                data = os.read(self.fd, 4096)
            except OSError:  # all processes that had it open have closed it
                data = b""
            assert data, self.shown
            self.shown += re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", data.decode())
        self.shown = self.shown.partition(wanted)[2]

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(served: Served) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*words: str) -> Terminal:
        opened.append(Terminal(*words, cwd=served.folder))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def test_arriving_text_does_not_disturb_the_typed_line(
    served: Served, terminal: Callable[..., Terminal]
) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall("\u202ehi\n".encode())
        connection.recv(100)

    with peer(answer) as port:
        client = terminal("connect", f"tcp:{port}")
        client.until(">")
        client.types("first\rhällo 漢")
        client.until("\\u202ehi")
        client.until("> hällo 漢")
        client.types("字\r")
        assert client.ends() == 0


def test_the_end_of_the_input_and_an_interrupt_end_a_conversation(
    served: Served, terminal: Callable[..., Terminal]
) -> None:
    for key, code in (("\x04", 0), ("\x03", 130)):
        echo = terminal("connect", f"tcp:{served.port('echo')}")
        echo.until(">")
        echo.types("hello\r")
        echo.until("hello")
        echo.until("hello")
        echo.until(">")
        echo.types(key)
        assert echo.ends() == code


def test_many_pasted_lines_arrive_as_many(served: Served, terminal: Callable[..., Terminal]) -> None:
    echo = terminal("connect", f"udp:{served.port('echo', kind='udp')}")
    echo.until(">")
    echo.types("\x1b[200~one\ntwo\nthree\x1b[201~\r")
    echo.until("three")
    for line in ("one", "two", "three"):
        echo.until(line)
    echo.until(">")
    echo.types("\x04")
    assert echo.ends() == 0


def test_a_peer_that_closes_ends_the_typing(served: Served, terminal: Callable[..., Terminal]) -> None:
    def say_and_close(connection: socket.socket) -> None:
        connection.sendall(b"bye\x1b[2J\n")

    with peer(say_and_close) as port:
        client = terminal("connect", f"tcp:{port}")
        client.until("bye\\x1b[2J")
        assert client.ends() == 0


def test_a_terminal_without_a_cursor_is_read_line_by_line(served: Served) -> None:
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [SOCKD, "connect", f"tcp:{served.port('echo')}"],
        stdin=inside,
        stdout=inside,
        env=os.environ | {"TERM": "dumb"},
    )
    os.close(inside)
    os.write(outside, b"hello\n\x04")
    shown = b""
    while shown.count(b"hello") < 2:  # once from the terminal's echo, once from the service
        assert select.select([outside], [], [], PATIENCE)[0]
        shown += os.read(outside, 4096)
    assert process.wait(PATIENCE) == 0
    os.close(outside)
    assert b"\x1b" not in shown
