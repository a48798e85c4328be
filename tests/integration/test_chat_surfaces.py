"""One room that people enter with every kind of client: all read the same, with the same numbers."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from chromium import Chromium
from crews import wait_until
from running import Daemon
from serving import serving
from test_chat_irc import CLIENTS, content
from test_chat_web import NUMBERS, TEXTS, enter, write

CONFIGURATION = """
[service.chat]
plugin = "chat"
listen = [
  "tcp:0:interface=127.0.0.1",
  "udp:0:interface=127.0.0.1",
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "irc" },
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "web" },
]
[service.chat.options]
motd = "be kind"
"""

ROOM = "meeting"
ROUNDS = 3

IRC = {"ii": "ii", "irssi": "irssi", "weechat": "weechat-headless"}
"""Programs of the clients that speak IRC."""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")


class Client:
    """Client in the room.

    Attributes:
        reads: returns the texts that it has shown, in their order, each with its number if it shows one.
        says: says a text.
    """

    def __init__(
        self, reads: Callable[[], Sequence[tuple[int | None, str]]], says: Callable[[str], None]
    ) -> None:
        self.reads = reads
        self.says = says


class Site:
    """Address of the chat's page."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"


@contextmanager
def chat(folder: Path) -> Iterator[Daemon]:
    with serving(folder, CONFIGURATION, "uv") as daemon:
        yield daemon


@contextmanager
def piped(folder: Path, name: str, port: int, *command: str) -> Iterator[Client]:
    """Start nc or telnet, with numbers and echoes."""
    shown = folder / f"{name}.out"
    with (
        shown.open("wb") as output,
        subprocess.Popen([*command, "127.0.0.1", str(port)], stdin=subprocess.PIPE, stdout=output) as program,
    ):
        assert program.stdin is not None
        typed = program.stdin

        def types(line: str) -> None:
            typed.write(f"{line}\n".encode())
            typed.flush()

        wait_until(lambda: "your name?" in content(shown))
        for line in ("/numbers on", "/echo on", f"/join {ROOM}", name):
            types(line)
        wait_until(lambda: f"in {ROOM}" in content(shown))
        yield Client(lambda: numbered(content(shown)), types)
        program.kill()


def numbered(text: str) -> list[tuple[int | None, str]]:
    """Return number and text of each message of the room."""
    found = re.findall(r"^(\d+) \S+ <[^>]+> (\S+)\r?$", text, re.MULTILINE)
    return [(int(number), said) for number, said in found]


@contextmanager
def datagrams(name: str, port: int) -> Iterator[Client]:
    """Take part over UDP, as a program does that sees what it has missed by the numbers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.connect(("127.0.0.1", port))
        peer.settimeout(60)
        peer.send(name.encode())
        code = re.search(r"/here \S+", peer.recv(2000).decode())
        assert code
        for line in (code[0], "/numbers on", "/echo on", f"/join {ROOM}"):
            peer.send(line.encode())
        heard = ""
        while f"in {ROOM}" not in heard:
            heard += peer.recv(2000).decode()
        peer.setblocking(False)

        def reads() -> list[tuple[int | None, str]]:
            nonlocal heard
            while True:
                try:
                    heard += peer.recv(2000).decode()
                except BlockingIOError:
                    return numbered(heard)

        yield Client(reads, lambda text: peer.sendall(text.encode()))


@contextmanager
def over_irc(folder: Path, kind: str, port: int) -> Iterator[Client]:
    (folder / kind).mkdir()
    with CLIENTS[kind](folder / kind, port, f"irc-{kind}", ROOM) as program:

        def reads() -> list[tuple[int | None, str]]:
            shown = re.findall(r"\bw\d-[a-z0-9]+\b", program.log())
            return [(None, word) for word in dict.fromkeys(shown)]

        yield Client(reads, lambda text: program.say(text))


@contextmanager
def page(folder: Path, name: str, site: Site) -> Iterator[Client]:
    browser = Chromium(folder / name)
    try:
        enter(browser, site, name, ROOM)  # type: ignore[arg-type]

        def reads() -> list[tuple[int | None, str]]:
            numbers, texts = browser.evaluate(f"[{NUMBERS}, {TEXTS}]")
            return list(zip(numbers, texts, strict=True))

        yield Client(reads, lambda text: write(browser, text))
    finally:
        browser.close()


@contextmanager
def web_socket(name: str, site: Site) -> Iterator[Client]:
    with connect(site.url.replace("http", "ws") + "socket", max_queue=None) as connection:
        connection.send(json.dumps({"type": "hello", "name": name, "rooms": {ROOM: None}}))
        read: list[tuple[int | None, str]] = []
        entered = False

        def reads() -> list[tuple[int | None, str]]:
            nonlocal entered
            try:
                while True:
                    event = json.loads(connection.recv(timeout=0.05))
                    entered = entered or event["type"] == "entered"
                    if event["type"] == "said":
                        read.append((event["number"], event["text"]))
            except TimeoutError:
                return read

        def is_in() -> bool:
            reads()
            return entered

        wait_until(is_in)
        yield Client(
            reads, lambda text: connection.send(json.dumps({"type": "say", "room": ROOM, "text": text}))
        )


@contextmanager
def curl(folder: Path, site: Site) -> Iterator[Client]:
    """Follow the room with curl, and post to it."""
    shown = folder / "curl.out"
    address = f"{site.url}rooms/{ROOM}"
    with (
        shown.open("wb") as output,
        subprocess.Popen(["curl", "-sN", f"{address}?since=0&name=follower"], stdout=output) as program,
    ):

        def reads() -> list[tuple[int | None, str]]:
            lines = [line.split(" ", 3) for line in content(shown).splitlines()]
            return [(int(line[0]), line[3]) for line in lines if len(line) == 4]

        def says(text: str) -> None:
            subprocess.run(["curl", "-sf", "-d", text, f"{address}?name=poster"], check=True, timeout=60)

        yield Client(reads, says)
        program.kill()


@pytest.mark.long
def test_people_with_every_kind_of_client_read_the_same_with_the_same_numbers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        daemon = stack.enter_context(chat(tmp_path))
        lines, irc, web = (daemon.port("chat", which=which)[1] for which in range(3))
        udp = daemon.port("chat", "udp")[1]
        site = Site(web)
        clients = {"nc": stack.enter_context(piped(tmp_path, "nc", lines, "nc"))}
        if shutil.which("telnet"):
            clients["telnet"] = stack.enter_context(piped(tmp_path, "telnet", lines, "telnet"))
        clients["udp"] = stack.enter_context(datagrams("udp", udp))
        for kind, program in IRC.items():
            if shutil.which(program):
                clients[kind] = stack.enter_context(over_irc(tmp_path, kind, irc))
        if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
            clients["page1"] = stack.enter_context(page(tmp_path, "page1", site))
            clients["page2"] = stack.enter_context(page(tmp_path, "page2", site))
        clients["socket"] = stack.enter_context(web_socket("socket", site))
        clients["curl"] = stack.enter_context(curl(tmp_path, site))

        for number in range(ROUNDS):
            for name, client in clients.items():
                client.says(f"w{number}-{name}")
        total = ROUNDS * len(clients)
        wait_until(lambda: all(len(client.reads()) >= total for client in clients.values()), 120)

        expected = clients["curl"].reads()
        assert [number for number, _ in expected] == list(range(1, total + 1))
        assert {text for _, text in expected} == {f"w{n}-{name}" for n in range(ROUNDS) for name in clients}
        for name, client in clients.items():
            if name in IRC:  # shows what it says itself at once, and no numbers
                others = [text for _, text in expected if not text.endswith(name)]
                assert [text for _, text in client.reads() if not text.endswith(name)] == others, name
            else:
                assert client.reads() == expected, name
