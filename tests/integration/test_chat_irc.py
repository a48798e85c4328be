"""IRC clients as people and programs use them, all in one room with somebody at a terminal."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from clients import python_packages
from crews import wait_until
from running import Daemon, Start
from serving import serving
from sockd_plugins.users.passwords import hash_password

CONFIGURATION = """
[service.chat]
plugin = "chat"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "irc" },
  "tcp:0:interface=127.0.0.1",
  { endpoint = "unix:irc.sock", protocol = "irc" },
]
[service.chat.options]
server_name = "irc.example"
motd = "be kind"
accounts = "accounts.txt"
"""

SECRET = "correct-horse"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("chat")
    names = [f"account-{kind}" for kind in CLIENTS]
    (folder / "accounts.txt").write_text("".join(f"{name}:{hash_password(SECRET)}\n" for name in names))
    with serving(folder, CONFIGURATION, "uv") as daemon:
        yield daemon


def irc_port(chat: Daemon) -> int:
    return chat.port("chat", which=0)[1]


class Terminal:
    """Somebody with `nc`, in a room."""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def __init__(self, chat: Daemon, name: str, room: str) -> None:
        self.socket = socket.create_connection(chat.port("chat", which=1))
        self.says(name)
        self.says(f"/join {room}")
        self.heard = b""
        self.hears("in " + room)

    def says(self, line: str) -> None:
        self.socket.sendall(f"{line}\n".encode())

    def hears(self, text: str) -> list[str]:
        """Wait for a text; return the lines up to then."""
        while text.encode() not in self.heard:
            data = self.socket.recv(65536)
            assert data, self.heard
            self.heard += data
        return self.heard.decode().splitlines()


class Program:
    """IRC client in a process of its own, in a folder of its own."""

    def __init__(
        self, folder: Path, name: str, *words: str | Path, stdin: int | None = None, **env: str
    ) -> None:
        self.folder = folder
        self.name = name
        environment = {
            **os.environ,
            "HOME": str(folder),
            "TERM": "xterm",
            "COLUMNS": "80",
            "LINES": "24",
            **env,
        }
        with (folder / "printed").open("wb") as printed:  # WeeChat locks it, which /dev/null is for all
            output = printed if stdin is None else stdin
            self.process = subprocess.Popen(
                [os.fspath(word) for word in words],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=output,
            )
        self.log: Callable[[], str] = lambda: ""
        self.say: Callable[[str], None] = lambda text: None

    def hears(self, *texts: str) -> None:
        """Wait until the client shows texts."""
        for text in texts:
            self._wait_for(text)
            assert text in self.log(), (text, self.log(), self.process.poll())

    def _wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.log() or self.process.poll() is not None)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def content(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def written(path: Path, text: str) -> None:
    with path.open("w") as pipe:
        pipe.write(f"{text}\n")


@contextmanager
def ii(folder: Path, port: int, name: str, room: str, secret: str = "") -> Iterator[Program]:
    words = ("-s", "127.0.0.1", "-p", str(port), "-n", name, "-i", folder)
    login = ("-k", "SECRET") if secret else ()
    program = Program(folder, name, found("ii"), *words, *login, SECRET=secret)
    server = folder / "127.0.0.1"
    wait_until(lambda: "be kind" in content(server / "out"))
    written(server / "in", f"/j #{room}")
    program.log = lambda: content(server / f"#{room}" / "out")
    program.say = lambda text: written(server / f"#{room}" / "in", text)
    wait_until((server / f"#{room}" / "in").exists)
    yield program
    program.end()


IRSSI = """
servers = ( {{ address = "127.0.0.1"; port = "{port}"; chatnet = "net"; autoconnect = "yes"; }} );
chatnets = {{ net = {{ type = "IRC"; {login} }}; }};
channels = ( {{ name = "#{room}"; chatnet = "net"; autojoin = "yes"; }} );
settings = {{
  core = {{ nick = "{name}"; user_name = "{name}"; real_name = "{name}"; }};
  "fe-common/core" = {{ autolog = "yes"; autolog_path = "{folder}/$0.log"; }};
}};
"""


@contextmanager
def irssi(folder: Path, port: int, name: str, room: str, secret: str = "") -> Iterator[Program]:
    home = folder / ".irssi"
    home.mkdir()
    login = (
        f'sasl_mechanism = "PLAIN"; sasl_username = "{name}"; sasl_password = "{secret}";' if secret else ""
    )
    text = IRSSI.format(port=port, room=room, name=name, folder=folder, login=login if secret else "")
    (home / "config").write_text(text)
    outside, inside = pty.openpty()
    program = Program(folder, name, found("irssi"), "--home", home, stdin=inside)
    os.close(inside)
    program.log = lambda: _screen(outside, folder) + content(folder / f"#{room}.log")
    program.say = lambda text: _type(outside, f"/msg #{room} {text}\r")
    program.hears("joined")
    yield program
    program.end()
    os.close(outside)


def _type(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def _screen(terminal: int, folder: Path) -> str:
    """Read what a program draws, so that it goes on drawing."""
    os.set_blocking(terminal, False)
    try:
        while data := os.read(terminal, 65536):
            with (folder / "screen").open("ab") as screen:
                screen.write(data)
    except OSError:
        pass
    return ""


@contextmanager
def weechat(folder: Path, port: int, name: str, room: str, secret: str = "") -> Iterator[Program]:
    pipe = folder / "pipe"
    login = f" -sasl_username={name} -sasl_password={secret}" if secret else ""
    commands = (
        f"/set fifo.file.path {pipe}",
        "/set logger.file.path " + str(folder / "logs"),
        "/set logger.file.flush_delay 0",
        f"/server add net 127.0.0.1/{port} -nicks={name} -autojoin=#{room}{login}",
        "/connect net",
    )
    words = [word for command in commands for word in ("-r", command)]
    program = Program(folder, name, found("weechat-headless"), "-d", folder / "home", *words)
    program.log = lambda: content(folder / "logs" / f"irc.net.#{room}.weechatlog")
    program.say = lambda text: written(pipe, f"irc.net.#{room} *{text}")
    program.hears("joined", "nicks")
    yield program
    program.end()


BOT = """
import sys
import irc.bot

class Bot(irc.bot.SingleServerIRCBot):
    def on_welcome(self, connection, event):
        connection.join("#" + sys.argv[3])

    def on_join(self, connection, event):
        print("joined", event.source.nick, flush=True)

    def on_pubmsg(self, connection, event):
        print(f"<{event.source.nick}> {event.arguments[0]}", flush=True)
        if event.arguments[0].startswith("say "):
            connection.privmsg(event.target, event.arguments[0][4:])

server = ("127.0.0.1", int(sys.argv[1]), sys.argv[4]) if sys.argv[4] else ("127.0.0.1", int(sys.argv[1]))
bot = Bot([server], sys.argv[2], sys.argv[2])
bot.start()
"""


@contextmanager
def bot(folder: Path, port: int, name: str, room: str, secret: str = "") -> Iterator[Program]:
    packages = python_packages("irc")
    (folder / "bot.py").write_text(BOT)
    command = f"exec {sys.executable} bot.py {port} {name} {room} '{secret}' > out"
    program = Program(folder, name, "/bin/sh", "-c", command, PYTHONPATH=str(packages))
    program.log = lambda: content(folder / "out")
    program.hears(f"joined {name}")
    yield program
    program.end()


CLIENTS = {"ii": ii, "irssi": irssi, "weechat": weechat, "bot": bot}


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_hears_and_is_heard(chat: Daemon, tmp_path: Path, kind: str) -> None:
    room = f"room-{kind}"
    with Terminal(chat, f"ann-{kind}", room) as ann:
        ann.says("before")
        with CLIENTS[kind](tmp_path, irc_port(chat), f"bob-{kind}", room) as bob:
            ann.hears(f"* bob-{kind} joined {room}")
            bob.hears("before")
            ann.says("say hello, żółć")
            bob.hears("say hello, żółć")
            if kind != "bot":
                bob.say("hello, żółć")
            ann.hears(f"<bob-{kind}> hello, żółć")


def test_all_clients_of_a_room_read_the_same_in_the_same_order(chat: Daemon, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ann = stack.enter_context(Terminal(chat, "ann", "meeting"))
        programs: list[Program] = []
        for kind, client in CLIENTS.items():
            folder = tmp_path / kind
            folder.mkdir()
            programs.append(stack.enter_context(client(folder, irc_port(chat), f"all-{kind}", "meeting")))
        joe = stack.enter_context(Terminal(chat, "joe", "meeting"))
        for number in range(10):
            ann.says(f"ann{number:02}")
            joe.says(f"joe{number:02}")
        wanted = {f"{name}{number:02}" for name in ("ann", "joe") for number in range(10)}
        for program in programs:
            program.hears(*wanted)
        orders = [_order(program.log(), wanted) for program in programs]
        assert orders == [orders[0]] * len(orders)


def _order(log: str, wanted: set[str]) -> Sequence[str]:
    places = {word: log.index(word) for word in wanted}
    return sorted(places, key=places.__getitem__)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_logs_in_with_its_password(chat: Daemon, tmp_path: Path, kind: str) -> None:
    """The name belongs to an account, so nobody bears it without the password."""
    name, room = f"account-{kind}", f"login-{kind}"
    client = CLIENTS[kind]
    with Terminal(chat, f"watcher-{kind}", room) as ann, client(tmp_path, irc_port(chat), name, room, SECRET):
        ann.hears(f"* {name} joined {room}")


def test_a_client_connects_through_a_unix_socket(chat: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(chat.folder / chat.path("chat")))
        client.sendall(b"NICK local\r\nUSER local 0 * :local\r\n")
        assert client.recv(65536).startswith(
            b":irc.example 001 local :Welcome to the sockd chat, local!local@irc."
        )


class Script:
    """Program that speaks IRC itself."""

    def __init__(self, chat: Daemon, nick: str, capabilities: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", irc_port(chat)))
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\r\n")
        self.says(f"CAP REQ :{capabilities}", f"NICK {nick}", f"USER {nick} 0 * :{nick}", "CAP END")
        self.reads(" 376 ")

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.socket.close()

    def says(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def reads(self, text: str) -> list[str]:
        """Return the lines up to one with a text."""
        found = []
        for line in self.lines:
            found.append(line.rstrip("\r\n"))
            if text in line:
                return found
        raise AssertionError(f"no line with {text!r} in {found}")


def test_what_came_back_to_its_speaker_survives_a_crash(start: Start) -> None:
    capabilities = "echo-message server-time message-tags batch draft/chathistory"
    before = start(CONFIGURATION.replace('accounts = "accounts.txt"', "rate = 1000\nburst = 1000")).ready()
    with Script(before, "ann", capabilities) as ann:
        ann.says("JOIN #ops", *(f"PRIVMSG #ops :said {number}" for number in range(100)))
        echoes = [without_host(line) for line in ann.reads("said 99")[-100:]]
        while time_of(echoes[-1]) == time_of(echoes[0]):  # another millisecond
            ann.says("PRIVMSG #ops :again")
            echoes += map(without_host, ann.reads("again"))
        before.signal(signal.SIGKILL)
        before.wait()
    after = start(CONFIGURATION.replace('accounts = "accounts.txt"', "")).ready()
    with Script(after, "ann", capabilities) as ann:
        ann.says("JOIN #ops", "CHATHISTORY LATEST #ops * 200")
        kept = ann.reads("BATCH -history")
        tag = "batch=history;"
        assert [without_host(line.replace(tag, "")) for line in kept if tag in line] == echoes
        first, last = time_of(echoes[0]), time_of(echoes[-1])
        ann.says(f"CHATHISTORY AFTER #ops timestamp={first} 1", f"CHATHISTORY BEFORE #ops timestamp={last} 1")
        later, earlier = (line for _ in range(2) for line in ann.reads("BATCH -history") if tag in line)
        assert first < time_of(later)
        assert time_of(earlier) < last


def without_host(line: str) -> str:
    """Return a message without the cloak of its speaker, which is another one after each start."""
    return re.sub(r"@u[0-9a-f]{10} ", "@ ", line)


def time_of(line: str) -> str:
    return line.partition("time=")[2].partition(";")[0]
