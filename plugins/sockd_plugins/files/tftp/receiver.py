"""Protocol `tftp`: write requests (RFC 1350), as devices and `curl`, `tftp`, `atftp` and `busybox` send them.

    curl -T FILE tftp://HOST:PORT/NAME          tftp -m binary HOST PORT -c put FILE NAME

A request has a name and a mode, `octet` or `netascii`, which is converted. The options `blksize`, `tsize`,
`timeout` (RFC 2347 to 2349) and `windowsize` (RFC 7440) are accepted; others are left out of the answer. A
block is at most 65464 bytes, a window at most 64 blocks and what the socket's receive buffer holds. Read
requests are refused.

The acknowledgement of the last block says that the file is stored, whole and durable. The server repeats its
last acknowledgement after 2 seconds (or `timeout`), then after twice as many, and so on, and ends a transfer
of which it has heard nothing for 160. For as long it answers when the last block is repeated.

All packets go through the port of the listener: no other one has to be open in a firewall, and the limits of
the service hold. RFC 1350 has servers choose a port for each transfer; every client takes any.

Errors have these numbers, and a text with the reason:

    0    digest, size, rate or disk are not right; see the text
    2    a name that is not accepted, or a read request
    3    too large for `max_size`, for a quota or for the disk, or too many transfers
    4    not a packet of TFTP, or not one that can come now
    5    a block of a transfer that is not known (any more): it has to begin again
    6    999 files of this name are there already
    8    a `blksize` that is no number from 8 on
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context, IDrained, Replies
from sockd_plugins.files.access.access import Access
from sockd_plugins.files.access.credentials import split_token
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.tftp.packets import (
    ACK,
    DATA,
    ERROR,
    MOST_TEXT,
    NUMBERS,
    OACK,
    READ,
    USUAL_BUFFER,
    WRITE,
    Request,
    RequestRefused,
    Terms,
    agree,
    error,
    parse_request,
)
from sockd_plugins.files.tftp.places import Places
from sockd_plugins.files.tftp.transfer import Gone, Transfer

REPLIES = Replies(floor=MOST_TEXT + 5, unasked=True)
"""An answer is shorter than what it answers, but for the text of an error. Repeated acknowledgements answer
nothing."""

_TICK = 1.0  # seconds

_BUFFER = 2 << 20
"""Bytes of the receive buffer: a block of 8192 bytes from each of a hundred clients."""

_KEEP = 160
"""Seconds for which the answer to a transfer that is over is kept: curl 7.88.1 repeats its last block after
73 seconds, and again after as many."""

_MOST_KEPT = 4096
"""Answers that are kept; beyond that the oldest goes."""

_DELAYED = 3
"""Seconds after the last packet in which a request that has come before is taken for a copy that the network
has delayed. Later it begins a new transfer."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Parts of a service that all its listeners for datagrams share.

    Attributes:
        engine: stores the files.
        access: decides who may send.
        buffers: memory of all uploads.
        context: the service's.
        places: places of the transfers.
        min_rate: bytes a second below which a transfer is ended after a while; 0 for no bound.
        unfinished: fire for each transfer when nothing of it waits for the disk any more.
    """

    engine: Engine
    access: Access
    buffers: Buffers
    context: Context
    places: Places
    min_rate: int
    unfinished: set[Deferred[None]] = field(default_factory=set)


@dataclass(slots=True)
class _Running:
    """Transfer with the packet that has asked for it."""

    transfer: Transfer
    packet: bytes


@dataclass(slots=True)
class _Over:
    """Transfer that is over.

    Attributes:
        packet: request that it has begun with.
        answer: the last packet to the client.
        last: number of the block that it answers, as in its packet; None for every block.
        age: seconds since it was sent.
    """

    packet: bytes
    answer: bytes
    last: bytes | None = None
    age: int = 0

    def begins_with(self, packet: bytes) -> bool:
        """Tell whether a request is a delayed copy of the one whose file was stored."""
        return self.last is not None and self.packet == packet and self.age < _DELAYED


@implementer(IDrained)
class Receiver(DatagramProtocol):
    """Datagram port that receives files.

    Args:
        desk: returns the shared parts, once the service has started.
    """

    noisy = False
    without_log_context: ClassVar[bool] = True

    def __init__(self, desk: Callable[[], Desk]) -> None:
        self._find_desk = desk
        self._port: Any = None
        self._takes: dict[Any, Callable[[bytes], None]] = {}  # for the blocks from an address
        self._running: dict[Any, _Running] = {}
        self._over: dict[Any, _Over] = {}
        self._timer: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None  # once the daemon ends; fires when no transfer runs

    @override
    def startProtocol(self) -> None:
        self._desk = self._find_desk()
        self._port = self.transport
        self._buffer = _enlarge_buffer(self._port.getHandle())

    @override
    def stopProtocol(self) -> None:
        """Tell all clients that they have to begin again."""
        for address, running in tuple(self._running.items()):
            self._port.write(error(0, "the service ends or changes; send the file again"), address)
            running.transfer.end(Gone())
        self._running.clear()
        self._takes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drain(self) -> Deferred[None]:
        """Implement `IDrained.drain`."""
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._look_for_end()
        return drained

    def _look_for_end(self) -> None:
        if self._drained is not None and not self._running and not self._drained.called:
            self._drained.callback(None)

    @override
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        take = self._takes.get(addr)
        if take is not None and datagram[:2] == DATA:
            take(datagram)
        elif addr is not None:  # a UNIX socket without a name cannot be answered
            self._receive(datagram, addr)

    def _receive(self, packet: bytes, address: Any) -> None:
        kind = packet[:2]
        if kind == WRITE:
            self._request(packet, address)
        elif kind == DATA:
            self._answer_late(packet, address)
        elif kind == ERROR:  # of curl it is 4 bytes whose number means nothing
            self._end(address)
        elif kind == READ:
            self._port.write(error(2, "files are only received here, not sent"), address)
        elif kind not in (ACK, OACK):
            self._port.write(error(4, "expected a packet of TFTP"), address)

    def _answer_late(self, packet: bytes, address: Any) -> None:
        """Answer a block of a transfer that is over."""
        over = self._over.get(address)
        if over is None:
            self._port.write(error(5, "this transfer is not known (any more); send the file again"), address)
        elif over.last is None or over.last == packet[2:4]:
            over.age = 0
            self._port.write(over.answer, address)

    # Transfers.

    def _request(self, packet: bytes, address: Any) -> None:
        if (running := self._running.get(address)) is not None and running.packet == packet:
            if not running.transfer.begun or running.transfer.quiet < _DELAYED:
                running.transfer.repeat_answer()
                return
        elif (over := self._over.get(address)) is not None and over.begins_with(packet):
            return
        self._end(address)
        if self._drained is not None:
            self._port.write(error(0, "the service ends; send the file later"), address)
            return
        try:
            request = parse_request(packet)
            terms = agree(request.options, self._buffer)
        except RequestRefused as refused:
            self._refused(_host(address), "bad-request", str(refused))
            self._port.write(error(refused.number, str(refused)), address)
        else:
            self._begin(request, terms, packet, address)

    def _begin(self, request: Request, terms: Terms, packet: bytes, address: Any) -> None:
        desk = self._desk
        transfer = Transfer(
            terms,
            netascii=request.netascii,
            send=partial(self._port.write, addr=address),
            buffers=desk.buffers,
            min_rate=desk.min_rate,
        )
        running = self._running[address] = _Running(transfer, packet)
        self._over.pop(address, None)
        self._takes[address] = transfer.take
        if self._timer is None:
            self._timer = desk.context.clock.callLater(_TICK, self._tick)
        done = Deferred.fromCoroutine(self._serve(request, terms, running, address))
        done.addErrback(self._broken, running, address)
        desk.unfinished.add(done)
        done.addCallback(lambda _: desk.unfinished.discard(done))

    async def _serve(self, request: Request, terms: Terms, running: _Running, address: Any) -> None:
        """Receive the file of a request, and answer its last block."""
        transfer, desk, host = running.transfer, self._desk, _host(address)
        try:
            desk.places.take(Sender(host).source, transfer)
            name, sender = await self._identify(request.name, host)
            size = None if request.netascii else terms.size  # converted text has another length
            async with await desk.engine.begin(Facts(name, size), sender) as upload:
                stored = await transfer.receive(upload)
        except FileRefused as refused:
            self._refused(host, refused.code, str(refused))
            self._close(running, address, error(NUMBERS.get(refused.code, 0), str(refused)))
        except Gone:
            desk.context.logger.debug("connection broken", peer=host)
            self._forget(running, address)
            self._look_for_end()
        else:
            desk.context.logger.info(
                "file received", file=stored.path, size=stored.size, digest=stored.digest, peer=host
            )
            answer = transfer.last_acknowledgement
            self._close(running, address, answer, answer[2:])
        finally:
            desk.places.give_back(transfer)

    async def _identify(self, path: str, host: str) -> tuple[str, Sender]:
        """Return the name of a file, and its sender, who may have a token in the path: `t/TOKEN/NAME`.

        Raises:
            FileRefused: the name is not accepted, or the sender may not send.
        """
        token, path = split_token(path)
        sender = await self._desk.access.sender(host, token=token, again=True)
        try:
            return safe_path(path.lstrip("/")), sender
        except ValueError as fault:
            raise FileRefused("bad-name", str(fault)) from fault

    def _refused(self, host: str, code: str, reason: str) -> None:
        self._desk.context.logger.info("file refused", code=code, reason=reason, peer=host)

    def _broken(self, failure: Failure, running: _Running, address: Any) -> None:
        self._desk.context.logger.failure("plugin fault", failure, peer=_host(address))
        self._close(running, address, error(0, "the server failed"))

    def _close(self, running: _Running, address: Any, answer: bytes, last: bytes | None = None) -> None:
        """Send the last answer of a transfer, and keep it for repeated blocks."""
        if self._forget(running, address):
            if len(self._over) >= _MOST_KEPT:
                del self._over[next(iter(self._over))]
            self._over[address] = _Over(running.packet, answer, last)
            self._port.write(answer, address)
            self._look_for_end()

    def _forget(self, running: _Running, address: Any) -> bool:
        """Forget a transfer; return False if its address has another one meanwhile, or none."""
        if self._running.get(address) is not running:
            return False
        del self._running[address], self._takes[address]
        return True

    def _end(self, address: Any) -> None:
        """End the transfer of an address, if there is one."""
        if (running := self._running.get(address)) is not None:
            self._forget(running, address)
            running.transfer.end(Gone())
            self._look_for_end()

    def _tick(self) -> None:
        for running in tuple(self._running.values()):
            running.transfer.tick()
        for address, over in tuple(self._over.items()):
            over.age += 1
            if over.age > _KEEP:
                del self._over[address]
        going = self._running or self._over
        self._timer = self._desk.context.clock.callLater(_TICK, self._tick) if going else None


def _enlarge_buffer(socket: Any) -> int:
    """Return the bytes of a socket's receive buffer, enlarged unless the operator has chosen it.

    All transfers share it: what does not fit is lost, and costs each of the clients seconds.
    """
    if socket.getsockopt(SOL_SOCKET, SO_RCVBUF) == USUAL_BUFFER:
        socket.setsockopt(
            SOL_SOCKET, SO_RCVBUF, _BUFFER
        )  # the kernel takes net.core.rmem_max if that is less
    size: int = socket.getsockopt(SOL_SOCKET, SO_RCVBUF)
    return size


def _host(address: Any) -> str:
    """Return the address of a peer without its port; "-" for a UNIX socket."""
    return address[0] if isinstance(address, tuple) else "-"
