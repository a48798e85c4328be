"""Uploads that one connection takes from another, between workers too."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

from crews import wait_until
from running import PATIENCE, Start

CONFIG = """
[daemon]
workers = 2

[service.files]
plugin = "files"
listen = ["tcp:0:interface=127.0.0.1"]
options = { directory = "received", folders = true, quota = "1MiB" }
"""

PAIRS = 8  # of connections: some of them have both ends in one worker, others do not


class Connection:
    """Client of `upload`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, PATIENCE)
        self._lines = self._socket.makefile("r")

    def sends(self, data: bytes) -> None:
        self._socket.sendall(data)

    def hears(self, word: str) -> list[str]:
        """Return the next line that begins with a word."""
        for line in self._lines:
            if line.startswith(f"{word} "):
                return line.split()
        raise AssertionError(f"no line with {word}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def test_an_upload_is_taken_from_a_connection_that_says_nothing_more_in_any_worker(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(CONFIG, how="sockd")
    daemon.wait_for("ready")
    address = daemon.port("files")
    silent = [Connection(address) for _ in range(PAIRS)]
    for number, connection in enumerate(silent):
        connection.sends(f"keep 10 - folder/{number}\n".encode() + b"12345")
    ids = [connection.hears("go")[1] for connection in silent]
    for connection in silent:
        assert connection.hears("at") == ["at", "5"]
    digest = hashlib.sha256(b"1234567890").hexdigest()
    for number, (first, id_) in enumerate(zip(silent, ids, strict=True)):
        second = Connection(address)
        second.sends(f"resume {id_}\n".encode())
        assert second.hears("go") == ["go", id_, "5"]
        assert first.hears("error")[1] == "taken"
        second.sends(b"67890")
        assert second.hears("ok") == ["ok", f"folder/{number}", "10", f"sha256={digest}"]
        first.close()
        second.close()
    folder = tmp_path / "received"
    assert sorted(os.listdir(folder / "folder")) == [str(number) for number in range(PAIRS)]
    wait_until(lambda: not [name for name in os.listdir(folder / ".sockd-part") if name[0] != "."])
