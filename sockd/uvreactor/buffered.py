"""Reading into buffers that belong to the receiver, so that the bytes of a large transfer are not copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

_SCRATCH = memoryview(bytearray(256_000))
"""Buffer for reads that go nowhere else; uvloop's own is as large."""


class Sink(Protocol):
    """Receiver of bytes; its methods never raise."""

    def space(self) -> memoryview | None:
        """Return where the next bytes go; None to get them as `bytes`."""

    def filled(self, size: int) -> None:
        """Take so many bytes, which are there."""


class BufferedProtocol:
    """Protocol of uvloop's, which reads into the buffers of a sink; all else is the stream's.

    Args:
        stream: gets the other events, and the bytes for which the sink has no space.
        sink: has the buffers.
    """

    __slots__ = (
        *("_deliver", "_given", "_sink"),
        *("connection_lost", "eof_received", "pause_writing", "resume_writing"),
    )

    def __init__(self, stream: Any, sink: Sink) -> None:
        self._sink = sink
        self._given = False  # the sink has given the space for the present read
        self._deliver: Callable[[bytes], None] = stream.data_received
        self.connection_lost = stream.connection_lost
        self.eof_received = stream.eof_received
        self.pause_writing = stream.pause_writing
        self.resume_writing = stream.resume_writing

    def get_buffer(self, _: int) -> memoryview:
        """Return where the next bytes go."""
        space = self._sink.space()
        self._given = space is not None
        return _SCRATCH if space is None else space

    def buffer_updated(self, size: int) -> None:
        """Tell the sink, or the stream, that bytes have come."""
        if self._given:
            self._sink.filled(size)
        else:
            self._deliver(bytes(_SCRATCH[:size]))
