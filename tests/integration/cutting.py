"""Way to a service that can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from running import PATIENCE


class Proxy:
    """Way to a service that counts the bytes to it, and does something when there are enough.

    Args:
        target: host and port of the service.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.sent = 0
        self.connections = 0
        self.cut_after: int | None = None  # bytes of a connection
        self.at: tuple[int, Callable[[], object]] | None = None  # bytes in all, and what to do then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                self._open.append(ours)
                try:
                    theirs = socket.create_connection(self.target, PATIENCE)
                except OSError:
                    ours.close()
                    continue
                theirs.settimeout(None)
                self._open.append(theirs)
                self.connections += 1
                threading.Thread(target=self._upwards, args=(ours, theirs), daemon=True).start()
                threading.Thread(target=self._downwards, args=(theirs, ours), daemon=True).start()

    def _upwards(self, ours: socket.socket, theirs: socket.socket) -> None:
        here = 0
        with suppress(OSError):
            while data := ours.recv(65536):
                theirs.sendall(data)
                here += len(data)
                self.sent += len(data)
                if self.at is not None and self.sent >= self.at[0]:
                    action, self.at = self.at[1], None
                    action()
                if self.cut_after is not None and here >= self.cut_after:
                    break
        self._end(ours, theirs)

    def _downwards(self, theirs: socket.socket, ours: socket.socket) -> None:
        with suppress(OSError):
            while data := theirs.recv(65536):
                ours.sendall(data)
        self._end(ours, theirs)

    @staticmethod
    def _end(*socks: socket.socket) -> None:
        for sock in socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
