"""Servers in threads, and files to send."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.send.servers import Serve, Talk


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
                    # A script may have no lines left, and a client may reset a connection.
                    with listener.accept()[0] as connection, suppress(IndexError, ConnectionError):
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


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "memory"))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.pdf"
    path.write_bytes(os.urandom(3_000_000))
    return path


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "a b"
    path.write_bytes(b"hello")
    return path
