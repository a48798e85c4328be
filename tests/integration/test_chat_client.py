"""`sockd chat` on a terminal and in pipes, with a real daemon."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon
from screens import Screen
from serving import serving
from tests.tls.authority import issue

SOCKD = str(BIN / "sockd")

CONFIG = """
[service.chat]
plugin = "chat"
listen = [
  "tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:run/chat.sock", "unixgram:run/chat.dgram",
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } },
]
options = { burst = 1000 }
"""


class Served:
    """Daemon, and clients in its folder."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder = folder
        self.daemon = daemon
        self.opened: list[Screen] = []

    def address(self, kind: str = "tcp") -> str:
        if kind == "tls":
            return f"tls:localhost:{self.daemon.port('chat', 'tcp', 1)[1]}"
        return self.daemon.addresses("chat", kind)[0]

    def says(self, *lines: str, name: str = "bob", kind: str = "tcp", room: str = "") -> str:
        """Say lines as a script does; return what it reads."""
        words = [SOCKD, "chat", self.address(kind), "-n", name, "--room", room, *_ca(kind)]
        done = subprocess.run(
            words,
            input="".join(f"{line}\n" for line in lines).encode(),
            capture_output=True,
            timeout=PATIENCE,
            cwd=self.folder,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def screen(self, *words: str, kind: str = "tcp", env: dict[str, str] | None = None) -> Screen:
        screen = Screen("chat", self.address(kind), *_ca(kind), *words, cwd=self.folder, env=env)
        self.opened.append(screen)
        return screen


def _ca(kind: str) -> list[str]:
    return ["--ca", "root.pem"] if kind == "tls" else []


@pytest.fixture(scope="module")
def one_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("chat")
    root = issue("root", authority=True)
    (folder / "root.pem").write_bytes(root.pem)
    server = issue("localhost", issuer=root)
    (folder / "server.pem").touch(mode=0o600)
    (folder / "server.pem").write_bytes(server.chain + server.key_pem())
    with serving(folder, CONFIG, "uv") as daemon:
        yield Served(folder, daemon)


@pytest.fixture
def served(one_daemon: Served) -> Iterator[Served]:
    yield one_daemon
    for screen in one_daemon.opened:
        screen.close()
    one_daemon.opened.clear()


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix", "udp", "unixgram"])
def test_what_arrives_leaves_what_is_being_typed_alone_and_quit_leaves(served: Served, kind: str) -> None:
    room = f"typing-{kind}"
    ann = served.screen("--name", "ann", "--room", room, kind=kind)
    ann.until(f"you are ann in {room}")
    ann.types("hällo 漢")
    ann.until("ann> hällo 漢")
    served.says("\u202ehi \x1b[2Jann", "/me waves", room=room)
    ann.until("<bob> \\u202ehi \\x1b[2Jann", "* bob waves", "bob left")
    assert ann.typed == "ann> hällo 漢"
    ann.types("字\r/who\r")
    ann.until("<ann> hällo 漢字", f"in {room}: ann")
    ann.types("/quit\r")
    assert ann.ends() == 0


def test_what_was_said_can_be_scrolled_and_older_messages_are_fetched(served: Served) -> None:
    room = "scrolling"
    keeper = served.screen("--name", "keeper", "--room", room)
    keeper.until("you are keeper")
    served.says(*(f"line {number}." for number in range(1, 61)), room=room)
    ann = served.screen("--name", "ann", "--room", room)
    ann.until("line 60.")
    assert "line 30." not in "".join(ann.lines)
    ann.types("half a line")
    ann.press_until("\x1b[5~", "line 1.")  # PageUp
    ann.until("PageDown goes back to the newest")
    served.says("meanwhile", room=room)
    ann.until("new, PageDown")
    ann.until("line 1.")
    ann.types("\x1b[1;5F")  # Ctrl-End
    ann.until("meanwhile", "bob left")
    assert ann.typed == "ann> half a line"


def test_tab_completes_and_earlier_lines_come_back_in_a_later_run(served: Served) -> None:
    keeper = served.screen("--name", "bartholomew", "--room", "tabs")
    keeper.until("you are bartholomew")
    ann = served.screen("--name", "ann", "--room", "tabs")
    ann.until("with bartholomew")
    ann.types("bar\thello\r")
    ann.until("<ann> bartholomew: hello")
    ann.types("\x04")
    assert ann.ends() == 0
    again = served.screen("--name", "ann", "--room", "tabs")
    again.until("you are ann")
    again.types("\x1b[A")  # Up
    again.until("ann> bartholomew: hello")
    assert (served.folder / "state/sockd/chat/lines").stat().st_mode & 0o777 == 0o600


def test_names_have_colours_unless_they_are_not_wanted(served: Served) -> None:
    keeper = served.screen("--name", "keeper", "--room", "colours")
    keeper.until("you are keeper")
    served.says("hello", room="colours")
    keeper.until("<bob> hello", "bob left")
    assert len(keeper.colours) > 1
    plain = served.screen("--name", "plain", "--room", "colours", env={"NO_COLOR": "1"})
    plain.until("<bob> hello")
    assert plain.colours == {"default"}


def test_a_name_that_is_taken_is_asked_for_again_on_a_terminal(served: Served) -> None:
    first = served.screen("--name", "ann")
    first.until("you are ann")
    second = served.screen("--name", "ann")
    second.until("the name ann is taken")
    second.types("anna\r")
    second.until("you are anna in lobby")


def test_an_interrupt_empties_the_line_and_then_ends(served: Served) -> None:
    ann = served.screen("--name", "ann")
    ann.until("you are ann")
    ann.types("some words")
    ann.until("ann> some words")
    ann.types("\x03")
    ann.until_gone("some words")
    ann.types("\x03")
    assert ann.ends() == 130


def test_many_pasted_lines_are_said_in_their_order(served: Served) -> None:
    ann = served.screen("--name", "ann", "--room", "pasting")
    ann.until("you are ann")
    ann.types("\x1b[200~one\ntwo\nthree\x1b[201~\r")
    ann.until("<ann> one", "<ann> two", "<ann> three")


# Pipes.


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix", "udp", "unixgram"])
def test_all_lines_of_a_script_are_stored_when_it_ends(served: Served, kind: str) -> None:
    room = f"script-{kind}"
    keeper = served.screen("--name", "keeper", "--room", room)
    keeper.until("you are keeper")
    shown = served.says(*map(str, range(1, 51)), "/who", name="bot", kind=kind, room=room)
    assert f"* in {room}: keeper, bot" in shown
    assert "<bot>" not in shown
    back = served.says("/since 0", name="reader", room=room)
    assert [line for line in back.splitlines() if line.startswith("<bot>")][-50:] == [
        f"<bot> {number}" for number in range(1, 51)
    ]


def test_a_line_that_is_refused_makes_a_script_fail(served: Served) -> None:
    done = subprocess.run(
        [SOCKD, "chat", served.address(), "-n", "bot"],
        input=b"x" * 500 + b"\nok\n",
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.decode() == "Error: 1 refused, the first: too long: at most 400 bytes, not 500\n"


def test_another_service_is_told_from_a_chat() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp:{other.getsockname()[1]}"
        command = subprocess.Popen(
            [SOCKD, "chat", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        connection, _ = other.accept()
        with connection, command:
            connection.sendall(b"220 mail.example \x1b[2JESMTP\r\n")
            _, errors = command.communicate(timeout=PATIENCE)
    assert errors.decode().endswith(": 220 mail.example \\x1b[2JESMTP\n")
    assert command.returncode == 1


# Restarts.


@pytest.fixture
def restarting(tmp_path: Path) -> Iterator[Callable[[], Daemon]]:
    """Return a function that starts the daemon, on the same ports each time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = [f"tcp:{port}:interface=127.0.0.1", f"udp:{port}:interface=127.0.0.1"]
    (tmp_path / "sockd.toml").write_text(f'[service.chat]\nplugin = "chat"\nlisten = {listen}\n')
    started: list[Daemon] = []

    def start() -> Daemon:
        started.append(Daemon(BIN / "sockd", "run", "-c", "sockd.toml", cwd=tmp_path))
        return started[-1].ready()

    yield start
    for daemon in started:
        daemon.stop()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_after_a_restart_it_goes_on_by_itself(
    restarting: Callable[[], Daemon], tmp_path: Path, kind: str
) -> None:
    daemon = restarting()
    ann = Screen("chat", daemon.addresses("chat", kind)[0], "--name", "ann", cwd=tmp_path)
    try:
        ann.until("you are ann")
        ann.types("one\r")
        ann.until("<ann> one")
        daemon.process.kill()
        daemon.process.wait()
        ann.types("two\r")
        ann.until("... two", "trying again")
        restarting()
        ann.types("three\r")
        ann.until("connected again", "<ann> two", "<ann> three")
        assert sum("<ann> two" in line for line in ann.lines) == 1
        ann.types("/quit\r")
        assert ann.ends() == 0
    finally:
        ann.close()


def test_a_script_goes_on_after_a_restart_and_ends_when_it_takes_too_long(
    restarting: Callable[[], Daemon], tmp_path: Path
) -> None:
    daemon = restarting()
    words = [SOCKD, "chat", daemon.addresses("chat", "tcp")[0], "-n", "bot", "--retry"]
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*words, "60"], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as bot:
        os.close(reading)
        assert bot.stdout is not None
        assert bot.stdout.readline() == b"* you are bot in lobby, alone\n"
        daemon.process.kill()
        daemon.process.wait()
        os.write(writing, b"after all\n")
        os.close(writing)
        assert bot.stderr is not None
        assert bot.stderr.readline().endswith(b"; trying again\n")
        daemon = restarting()
        out, _ = bot.communicate(timeout=PATIENCE)
        assert b"connected again" in out
        assert bot.returncode == 0
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*words, "0"], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as bot:
        os.close(reading)
        assert bot.stdout is not None
        assert bot.stdout.readline() == b"* you are bot in lobby, alone\n"
        daemon.process.kill()
        _, errors = bot.communicate(timeout=PATIENCE)
        os.close(writing)
    assert bot.returncode == 1
    assert errors.count(b"\n") == 1
