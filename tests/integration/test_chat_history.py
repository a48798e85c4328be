"""History of a chat over restarts, crashes, reloads and upgrades of real daemons."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Start

CHAT = """
[daemon]
workers = {workers}
drain_timeout = "2s"

[control]
listen = "unix:control.sock"

[service.chat]
plugin = "chat"
listen = ["unix:chat.sock"]
options = {{ history = {shown} }}
"""


Enter = Callable[[str], "Client"]


class Client:
    """Person on a terminal."""

    def __init__(self, folder: Path, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(os.fspath(folder / "chat.sock"))
        self._lines = self._socket.makefile("r")
        self.says(name)
        self.reads(r"\* you are ")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def says(self, *lines: str) -> None:
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def reads(self, pattern: str) -> list[str]:
        """Return the lines up to one that fits the pattern."""
        found = []
        for line in self._lines:
            found.append(line.rstrip("\n"))
            if re.match(pattern, line):
                return found
        raise AssertionError(f"no line {pattern!r} in {found}")

    def reads_to_the_end(self) -> list[str]:
        return [line.rstrip("\n") for line in self._lines]

    def asks(self, number: int) -> list[str]:
        """Return what was said in the room behind a number, after the line that tells its numbers."""
        self.says(f"/since {number}")
        head = self.reads(r"\* \d+ to \d+ of ")[-1]
        first, last = map(int, re.findall(r"\d+", head)[:2])
        return [head, *(next(self._lines).rstrip("\n") for _ in range(first, last + 1))]


@pytest.fixture
def enter(tmp_path: Path) -> Iterator[Enter]:
    clients: list[Client] = []

    def enter_one(name: str) -> Client:
        clients.append(Client(tmp_path, name))
        return clients[-1]

    yield enter_one
    for client in clients:
        client.close()


def test_messages_are_there_after_a_restart_and_after_a_crash(start: Start, enter: Enter) -> None:
    daemon = start(CHAT.format(workers=0, shown=2)).ready()
    ann, bob = enter("ann"), enter("bob")
    ann.says("one", "two", "three")
    bob.reads("<ann> three")
    assert daemon.stop() == 0

    daemon = start(CHAT.format(workers=0, shown=2)).ready()
    cleo, dora = enter("cleo"), enter("dora")
    cleo.says("four", "five")
    dora.reads("<cleo> five")
    daemon.signal(signal.SIGKILL)
    daemon.wait()

    start(CHAT.format(workers=0, shown=2)).ready()
    emil = enter("emil")
    assert emil.asks(0) == [
        "* 1 to 5 of lobby:",
        *("<ann> one", "<ann> two", "<ann> three", "<cleo> four", "<cleo> five"),
    ]


def test_a_room_that_was_left_by_all_has_its_messages_when_it_is_opened_again(
    start: Start, enter: Enter
) -> None:
    start(CHAT.format(workers=0, shown=20)).ready()
    ann = enter("ann")
    ann.says("/join Garden", "tulips", "/join lobby")
    ann.reads(r"\* you are ann in lobby")
    ann.says("/join garden")
    assert ann.reads("<ann> tulips")


@pytest.mark.parametrize("workers", [0, 1])
def test_numbers_go_on_without_a_gap_over_reloads(
    start: Start, enter: Enter, workers: int, tmp_path: Path
) -> None:
    daemon = start(CHAT.format(workers=workers, shown=20)).ready()
    said = 0
    for shown in (19, 18, 17):
        speaker, listener = enter("ann"), enter("bob")
        for _ in range(10):
            said += 1
            speaker.says(f"message {said}")
        listener.reads(f"<ann> message {said}")
        (tmp_path / "sockd.toml").write_text(CHAT.format(workers=workers, shown=shown))
        done = command(tmp_path, "reload")
        assert done.returncode == 0, done.stdout + done.stderr
        assert listener.reads_to_the_end()[-1:] == ["* the server is closing"]
    assert enter("cleo").asks(0) == [
        f"* 1 to {said} of lobby:",
        *(f"<ann> message {number}" for number in range(1, said + 1)),
    ]
    assert not daemon.all_of("messages not stored")


def test_numbers_go_on_without_a_gap_over_an_upgrade(start: Start, enter: Enter, tmp_path: Path) -> None:
    start(CHAT.format(workers=1, shown=0)).ready()
    ann, bob = enter("ann"), enter("bob")
    ann.says("one", "two")
    bob.reads("<ann> two")
    done = command(tmp_path, "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bob.reads_to_the_end()[-1:] == ["* the server is closing"]
    cleo, dora = enter("cleo"), enter("dora")
    cleo.says("three")
    dora.reads("<cleo> three")
    assert dora.asks(0) == ["* 1 to 3 of lobby:", "<ann> one", "<ann> two", "<cleo> three"]


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the operator."""
    whole = [os.fspath(BIN / "sockd"), *words]
    return subprocess.run(whole, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
