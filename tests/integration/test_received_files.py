"""Files that are being received when the daemon is killed."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crews import wait_until
from running import PATIENCE, Start

CONFIG = """
[service.files]
plugin = "files"
listen = ["tcp:0:interface=127.0.0.1"]
options = { directory = "received", quota = "1GiB" }
"""
SIZE = 10 << 20
PIECE = 256 << 10


@dataclass
class Sent:
    """File that a sender has announced, and what it was told."""

    name: str
    data: bytes
    id: str = ""
    durable: int = 0
    stored: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Sender:
    """Client that sends one file after another until the daemon is gone."""

    files: list[Sent] = field(default_factory=list)

    def send(self, port: int, new: Iterator[Sent]) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                unfinished = [sent for sent in self.files if not sent.stored]
                for sent in unfinished:
                    self._send(connection, sent)
                for sent in new:
                    self.files.append(sent)
                    self._send(connection, sent)
        except ConnectionError:
            pass

    def _send(self, connection: socket.socket, sent: Sent) -> None:
        lines = connection.makefile("r")
        announcement = f"keep {len(sent.data)} sha256={sent.digest} {sent.name}"
        connection.sendall(f"resume {sent.id}\n".encode() if sent.id else f"{announcement}\n".encode())
        go = lines.readline().split()
        if not go:
            raise ConnectionError
        if go[:2] == ["error", "unknown"]:  # it was stored, and the answer was lost
            sent.stored = sent.name
            raise ConnectionError
        word, sent.id, offset = go
        assert word == "go"
        assert int(offset) >= sent.durable, "an offset that was told is not there"
        told = threading.Thread(target=self._listen, args=[lines, sent])
        told.start()
        try:
            for start in range(int(offset), len(sent.data), PIECE):
                connection.sendall(sent.data[start : start + PIECE])
        finally:
            told.join()
        if not sent.stored:
            raise ConnectionError

    @staticmethod
    def _listen(lines: Iterator[str], sent: Sent) -> None:
        try:
            for line in lines:
                word, value, *_ = line.split()
                assert word in ("at", "ok"), line
                if word == "ok":
                    sent.stored = value
                    return
                sent.durable = int(value)
        except ConnectionError:
            pass


def test_a_daemon_that_is_killed_loses_nothing_that_it_has_acknowledged(start: Start, tmp_path: Path) -> None:
    chance = random.Random(os.urandom(8).hex())
    sender = Sender()
    folder = tmp_path / "received"
    for round_ in range(3):
        daemon = start(CONFIG, how="sockd")
        daemon.wait_for("ready")
        port = daemon.port("files")[1]
        new = (Sent(f"{round_}-{n}", chance.randbytes(SIZE)) for n in range(100))
        kill = threading.Timer(chance.uniform(0, 0.4), daemon.process.kill)
        kill.start()
        sender.send(port, new)
        kill.join()
        daemon.process.wait()
        check(folder, sender)
    daemon = start(CONFIG, how="sockd")
    daemon.wait_for("ready")
    for _ in range(len(sender.files)):  # each that turns out to be stored already ends a connection
        sender.send(daemon.port("files")[1], iter(()))
    assert all(sent.stored for sent in sender.files)
    check(folder, sender)
    # A part is removed after the answer. One whose id the daemon could not tell before it was killed is kept.
    ids = {sent.id for sent in sender.files}
    wait_until(
        lambda: not [name for name in os.listdir(folder / ".sockd-part") if ids & set(name.split("-"))]
    )


def check(folder: Path, sender: Sender) -> None:
    """Compare the folder with what was sent."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    sent = {file.name: file.data for file in sender.files}
    assert not [name for name, data in found.items() if data != sent[name]], "not whole"
    assert not [file.name for file in sender.files if file.stored and file.stored not in found], "lost"


def test_a_raw_file_of_a_sender_that_was_killed_can_be_told_from_a_whole_one(
    start: Start, tmp_path: Path
) -> None:
    places = {"apart": "unverified", "together": ""}
    services = (
        f'[service.{name}]\nplugin = "files"\n'
        'listen = [{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "raw" }]\n'
        f'options = {{ directory = "{name}", unverified = "{where}" }}\n'
        for name, where in places.items()
    )
    daemon = start("".join(services))
    daemon.wait_for("ready")
    for name, where in places.items():
        port = daemon.port(name)
        answers = [raw(port, b"some bytes"), raw(port, b"whole" + digest_line(b"whole"))]
        names = [answer.split()[1] for answer in answers]
        assert [each.startswith("unverified/") for each in names] == [bool(where), False]
        assert (tmp_path / name / names[0]).read_bytes() == b"some bytes"
        whole = b"whole" if where else b"whole" + digest_line(b"whole")
        assert (tmp_path / name / names[1]).read_bytes() == whole


def digest_line(data: bytes) -> bytes:
    return f"sha256={hashlib.sha256(data).hexdigest()}\n".encode()


def raw(address: tuple[str, int], data: bytes) -> str:
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("r").readline()
