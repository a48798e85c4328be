"""Transfer of one file: blocks come in, acknowledgements go out, and the data goes to the engine.

A block is acknowledged when it has a place in memory, and the last one when the file is stored. Two windows
of the engine have a place: one that is written, one that fills meanwhile. When there is no place, an
acknowledgement waits, and the client with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from sockd_plugins.files.storage.engine import LEAST_WINDOW, Incoming
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.upload import Stored
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.pace import PATIENCE, STALL
from sockd_plugins.files.tftp.netascii import Netascii
from sockd_plugins.files.tftp.packets import ACK, HEADER, Terms, acknowledgement

_MOST_COLLECTED = 1 << 18
"""Bytes that are collected for one piece of work at most. Larger ones gain nothing at the rate of TFTP."""

_LARGE = 4096
"""Bytes of blocks that are written as they came. It costs less to join smaller ones than to hash each."""

_REPEAT = 2
"""Seconds until the last acknowledgement is repeated, then twice as many, and so on. curl 7.88.1 waits for 73
seconds before it repeats a block that was lost; a repeated acknowledgement brings it on at once."""

_IDLE = 160
"""Seconds without a packet after which a transfer ends: more than curl needs to repeat a block twice."""

_SILENT = 30
"""Seconds without a packet after which a transfer gives way when all places are taken: every client but curl
has repeated its block several times, and curl answers a repeated acknowledgement."""

_NEVER = b"none"
"""Number of the awaited block while none is accepted: no packet has it, however short it is."""


class Gone(Exception):
    """End of a transfer whose file is not whole, for a reason that its client knows."""


class Transfer:
    """Transfer of one file; `receive` runs for as long as it lasts.

    Args:
        terms: what was agreed.
        netascii: whether the data comes as text.
        send: sends a packet to the client.
        buffers: memory that all uploads of the service share.
        min_rate: bytes a second below which it is ended after a while; 0 for no bound.

    Attributes:
        quiet: seconds since the last packet, while one is awaited.
    """

    __slots__ = (
        "_again",
        "_answered_gap",
        "_awaited",
        "_buffers",
        "_collected",
        "_complete",
        "_decoder",
        "_due",
        "_ended",
        "_idle",
        "_joins",
        "_last",
        "_measured",
        "_min_rate",
        "_moved",
        "_number",
        "_patience",
        "_pieces",
        "_received",
        "_repeat",
        "_repeat_at",
        "_send",
        "_size",
        "_terms",
        "_unacknowledged",
        "_waiting",
        "_window",
        "quiet",
    )

    def __init__(
        self, terms: Terms, *, netascii: bool, send: Callable[[bytes], None], buffers: Buffers, min_rate: int
    ) -> None:
        self.quiet = 0
        self._terms = terms
        # Converted text has another length, and the one that was told may be either.
        self._size = None if netascii else terms.size
        self._decoder = Netascii() if netascii else None
        self._send = send
        self._buffers = buffers
        self._awaited = _NEVER  # number of the next block, as in its packet
        self._number = 0  # of the last block that came in order
        self._last = b""  # its packet
        self._received = 0  # bytes of data
        self._unacknowledged = 0  # blocks since the last acknowledgement
        self._due = False  # an acknowledgement waits for a place in memory
        self._complete = False  # the last block has come
        self._again = False  # the last answer was repeated in this second
        self._answered_gap = -1  # number of the last block in order when a gap was answered
        self._joins = netascii or terms.block < _LARGE  # whether blocks are written as one piece
        self._pieces: list[memoryview] = []  # data of blocks that is not written yet
        self._collected = 0  # its bytes
        self._window = LEAST_WINDOW
        self._waiting: Deferred[None] | None = None
        self._ended: Exception | None = None
        self._moved = False  # a block came in this second
        self._repeat = self._repeat_at = terms.timeout or _REPEAT
        self._idle = max(_IDLE, 2 * self._repeat)
        self._min_rate = min_rate
        self._patience = PATIENCE
        self._measured = 0  # bytes that had come a second ago

    @property
    def begun(self) -> bool:
        """True if a block has come: the client receives what is sent to its address."""
        return bool(self._last)

    @property
    def gives_way(self) -> bool:
        """True if its place may go to another one: its client has not answered, or not for long."""
        return self._awaited != _NEVER and (not self.begun or self.quiet >= _SILENT)

    @property
    def last_acknowledgement(self) -> bytes:
        """Acknowledgement of the last block."""
        return acknowledgement(self._number)

    def end(self, reason: Exception) -> None:
        """End the transfer, unless its file is about to be stored; `receive` raises the reason."""
        if self._ended is None:
            self._ended = reason
            self._awaited = _NEVER
            self._wake()

    # The engine's side.

    async def receive(self, upload: Incoming) -> Stored:
        """Receive the file of an upload that has begun.

        Raises:
            FileRefused: it is not accepted.
            Gone: the transfer was ended.
        """
        upload.on_taken(lambda: self.end(FileRefused("taken", "the operator has ended this upload")))
        if self._ended is None:
            self._awaited = acknowledgement(1)[2:]
            self._send(self._terms.answer)
        self._buffers.holders.add(self)
        self._buffers.go_on()
        try:
            while await self._more():
                pieces, size = self._pieces, self._collected
                self._pieces, self._collected = [], 0
                self._acknowledge_due()
                try:
                    await upload.write(self._written(pieces))
                finally:
                    self._buffers.free(size)
                self._window = min(upload.window, _MOST_COLLECTED)
                self._acknowledge_due()
            if self._decoder is not None and (rest := self._decoder.end()):
                await upload.write((rest,))
            return await upload.finish()
        finally:
            self._awaited = _NEVER
            self._buffers.free(self._collected)
            self._pieces, self._collected = [], 0
            self._buffers.holders.discard(self)
            self._buffers.wait()

    def _written(self, blocks: Sequence[Piece]) -> Sequence[Piece]:
        """Return the pieces to write for the data of blocks."""
        if self._size is not None and self._received > self._size:
            raise FileRefused("incomplete", f"expected {self._size} bytes, found more")
        if not self._joins:
            return blocks
        data = b"".join(blocks)
        return (data if self._decoder is None else self._decoder.decode(data),)

    async def _more(self) -> bool:
        """Wait until there is a window to write; return False when everything is written."""
        while self._ended is None and not self._ready():
            if self._complete:
                return False
            self._waiting = Deferred()
            self._buffers.wait()
            try:
                await self._waiting
            finally:
                self._buffers.go_on()
        if self._ended is not None:
            raise self._ended
        return True

    def _ready(self) -> bool:
        """Tell whether what is in memory has to be written now."""
        size = self._collected
        return size > 0 and (
            size >= self._window or self._complete or self._buffers.short or self._stalls(size)
        )

    def _stalls(self, size: int) -> bool:
        """Tell whether a client that was fast has stopped: it keeps no more memory than a slow one."""
        return size > LEAST_WINDOW and self.quiet > 0

    def regulate(self) -> None:
        """Implement `Holder.regulate`."""
        if self._buffers.short:
            self._wake()
        else:
            self._acknowledge_due()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    # The client's side.

    def take(self, packet: bytes) -> None:
        """Take a block."""
        if packet[2:4] != self._awaited:
            self._take_another(packet)
            return
        self._last = packet
        self._moved = True
        self._number = number = (self._number + 1) & 0xFFFF
        self._awaited = ((number + 1) & 0xFFFF).to_bytes(2)
        size = len(packet) - HEADER
        self._pieces.append(memoryview(packet)[HEADER:])
        self._collected += size
        self._received += size
        self._buffers.add(size)
        if size != self._terms.block:
            self._take_last(size)
            return
        if self._collected >= self._window:
            self._wake()
        self._unacknowledged += 1
        if self._unacknowledged >= self._terms.window or self._buffers.short:
            self._acknowledge()

    def _take_last(self, size: int) -> None:
        """Note the end: a block that is shorter than agreed."""
        self._awaited = _NEVER
        if size > self._terms.block:
            self.end(
                FileRefused("bad-request", f"expected blocks of {self._terms.block} bytes, found {size}")
            )
            return
        self._complete = True
        self._wake()

    def _take_another(self, packet: bytes) -> None:
        """Answer a block that is not the next one, but no more often than it helps.

        Either the client has not seen the last acknowledgement, or a block was lost. Clients repeat a whole
        window for each answer, so there is one for each gap, and for repeated blocks one a second.
        """
        if self._awaited == _NEVER or len(packet) < HEADER:
            return  # an answer follows when it is due
        self.quiet = 0
        distance = (int.from_bytes(packet[2:4]) - self._number) & 0xFFFF
        if distance == 0 and self._last not in (b"", packet):
            # curl sends its next data with the same number when it gets the answer to its options twice.
            self.end(FileRefused("bad-request", f"block {self._number} came twice, with different data"))
        elif 0 < distance < 0x8000:
            if self._answered_gap != self._number:
                self._answered_gap = self._number
                self._acknowledge()
        elif not self._again:
            self._again = True
            self._acknowledge()

    def repeat_answer(self) -> None:
        """Answer a repeated request."""
        if self._awaited != _NEVER and not self.begun and not self._again:
            self.quiet = 0
            self._again = True
            self._send(self._terms.answer)

    def _acknowledge(self) -> None:
        """Acknowledge all blocks in order, or wait until there is a place for more."""
        if self._collected >= self._window or self._buffers.short:
            self._due = True
            self._awaited = _NEVER
            return
        self._unacknowledged = 0
        self._send(ACK + self._number.to_bytes(2))

    def _acknowledge_due(self) -> None:
        if self._due and self._ended is None and not self._buffers.short:
            self._due = False
            self._awaited = acknowledgement((self._number + 1) & 0xFFFF)[2:]
            self._acknowledge()

    # The clock's side.

    def tick(self) -> None:
        """Note that a second has passed."""
        self._again, self._answered_gap = False, -1
        moved, self._moved = self._moved, False
        if moved or self._awaited == _NEVER:
            self.quiet, self._repeat_at = 0, self._repeat
        else:
            self.quiet += 1
            self._wait_on()
        if self._min_rate and self._awaited != _NEVER and self.quiet <= STALL:
            self._measure()

    def _wait_on(self) -> None:
        if self.quiet >= self._idle:
            self.end(Gone())
        elif self.quiet >= self._repeat_at:
            self._repeat_at *= 2
            # The client of other terms may have lost them, and sends its request again. To repeat them by
            # ourselves would lose data of curl if it had them already (see `_take_another`).
            if self.begun or self._terms.usual:
                self._acknowledge()
        elif self._stalls(self._collected):
            self._wake()

    def _measure(self) -> None:
        """Compare the bytes that came in a second with `min_rate`."""
        came, self._measured = self._received - self._measured, self._received
        self._patience = min(self._patience - 1 + came / self._min_rate, PATIENCE)
        if self._patience < 0:
            self.end(FileRefused("too-slow", f"expected at least {self._min_rate} bytes a second"))
