"""Connected sockets on their way to uvloop, which opens a stream for each."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from sockd.uvreactor.stream import Stream


class Descriptor:
    """Socket with as much as uvloop asks for; a `socket.socket` would cost two system calls.

    Args:
        descriptor: of a connected socket; uvloop closes it.
        family: of the socket.
    """

    __slots__ = ("_descriptor", "family")

    type = int(socket.SOCK_STREAM)

    def __init__(self, descriptor: int, family: int) -> None:
        self._descriptor = descriptor
        self.family = family

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Do nothing: uvloop calls it after it has closed the descriptor."""


class Openings:
    """Streams that uvloop is about to open.

    Args:
        loop: uvloop's.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._begun: list[tuple[Any, Any]] = []

    def begin(self, stream: Stream, sock: Descriptor | socket.socket) -> None:
        """Let uvloop serve a connected socket; `stream.connection_made` is called in the next turn.

        The loop's coroutine does everything at once except waiting for that call. It must be kept until then,
        because dropping it closes the socket.
        """
        opening = self._loop.connect_accepted_socket(lambda: stream, sock)
        if not self._begun:
            self._loop.call_soon(self._finish)
        self._begun.append((opening, opening.send(None)))

    def _finish(self) -> None:
        """Finish the coroutines of open streams, all in one call, because a callback for each costs more."""
        begun, self._begun = self._begun, []
        for opening, opened in begun:
            if opened.done():
                with suppress(StopIteration, RuntimeError):  # its result, or the stream was closed meanwhile
                    opening.send(None)
            else:
                self._begun.append((opening, opened))
        if self._begun:
            self._loop.call_soon(self._finish)


def hand_over(stream: Stream, sock: Descriptor | socket.socket) -> None:
    """Let uvloop serve a connected socket from now on."""
    stream.reactor.openings.begin(stream, sock)
    stream.reactor.native.add(stream)
