"""Time: the present time in the format that is asked for.

A request is a strftime format in UTF-8 of at most 128 bytes; an empty request means the service's own format.
The answer is the present time in that format, of at most 256 bytes.

    %a %A %b %B %h    names of the day and the month, in English      %p  AM or PM
    %Y %y %C %m %d %e %j    year, century, month, day of month and year
    %H %I %M %S %f    hours of 24 and of 12, minutes, seconds, microseconds
    %G %g %V %u %U %W %w    ISO 8601 year, week and day; weeks and day from Sunday and Monday
    %F %D %x    2001-12-31 12/31/01 12/31/01      %T %X %R %r    23:59:59 23:59:59 23:59 11:59:59 PM
    %c    Mon Dec 31 23:59:59 2001      %z %Z    zone: +0100 CET      %s    seconds since 1970
    %n %t %%    a line feed, a tab, a percent sign

A number other than %f and %s may have one flag: `%-d` is not padded, `%_d` padded with spaces, `%0e` with
zeros. Widths, other directives, formats without any directive and characters that are not printable are
refused with one line, such as `error: unknown directive %Q at character 3`.

Over datagrams a request is one datagram, with or without a line feed at its end (nc sends one), and its
answer is one datagram without a line feed. A request that begins with `error:` is dropped, so that an error
is never answered with an error. An answer is no request either, because it has no directive. So no forged
datagram can make two such services answer each other for ever. Over streams a request is a line and so is its
answer, in the same order, until the peer closes; a last line without a line feed is answered too. A line of
more than 128 bytes is refused and the connection closed. Options of a telnet client are ignored.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, PrivateAttr
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.errors import ValueFault
from sockd.framing import FrameTooLong, Lines
from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies
from sockd.telnet import Telnet

_MAX_REQUEST = 128
"""Bytes of a request at most."""

_MAX_ANSWER = 256
"""Bytes of an answer at most; without this bound 64 times %c would send twelve times the bytes of the
request."""

_LINES_PER_TURN = 256
"""Answers to one peer in one turn of the reactor: 64 KiB of line feeds would take half a second."""

_LOCAL = "local"

_ERROR = b"error: "

_TOO_LONG = _ERROR + b"more than %d bytes in the request" % _MAX_REQUEST

_DIRECTIVE = re.compile("%([-_0]?)(.?)")
_NUMBERS = frozenset("CdeGgHIjmMSuUVwWyY")
_ALL = _NUMBERS | frozenset("aAbBcDfFhnprRstTxXzZ%")


class _FormatError(ValueError):
    """Refusal of a format; `offset` and `length` are its place in characters."""

    def __init__(self, reason: str, offset: int = 0, length: int = 0) -> None:
        super().__init__(reason)
        self.offset = offset
        self.length = length


def _formatted(format_: str, now: datetime) -> str:
    for offset, character in enumerate(format_):
        if not character.isprintable():
            raise _FormatError(f"unprintable U+{ord(character):04X} at character {offset + 1}", offset, 1)
    text, directives = _DIRECTIVE.subn(partial(_directive, now), format_)
    if not directives:
        raise _FormatError("no directive such as %H")
    if len(text.encode()) > _MAX_ANSWER:
        raise _FormatError(f"more than {_MAX_ANSWER} bytes in the answer")
    return text


def _directive(now: datetime, match: re.Match[str]) -> str:
    flag, letter = match.groups()
    if letter not in (_NUMBERS if flag else _ALL):
        where = match.start()
        raise _FormatError(f"unknown directive {match[0]} at character {where + 1}", where, len(match[0]))
    # The C library takes the seconds since 1970 for local time, whatever the zone.
    return str(int(now.timestamp())) if letter == "s" else now.strftime(match[0])


def _answer(request: bytes, default: str, now: datetime) -> bytes:
    if len(request) > _MAX_REQUEST:
        return _TOO_LONG
    try:
        return _formatted(request.decode() or default, now).encode()
    except UnicodeDecodeError as error:
        return _ERROR + b"not UTF-8 at byte %d" % (error.start + 1)
    except _FormatError as error:
        return _ERROR + str(error).encode()


def _known_zone(name: str) -> str:
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):  # unknown, not a name, or a folder of zones
        known = {zone.lower(): zone for zone in (_LOCAL, *zoneinfo.available_timezones())}
        meant = difflib.get_close_matches(name.lower(), known, n=1)
        nearest = known[meant[0]] if meant else None
        raise ValueFault("local or a zone such as Europe/Berlin", repr(name), nearest=nearest) from None
    return name


def _zone(name: str) -> tzinfo | None:
    return None if name == _LOCAL else zoneinfo.ZoneInfo(name)


def _known_format(format_: str) -> str:
    try:
        _formatted(format_, datetime.now(UTC))
    except _FormatError as error:
        expected = "a format such as %Y-%m-%d %X"
        raise ValueFault(expected, str(error), offset=error.offset, length=error.length) from None
    return format_


def _wall_clock(zone: tzinfo | None) -> datetime:
    return datetime.now(UTC).astimezone(zone)


@implementer(IStreamPlugin, IDatagramPlugin)
class Time(Plugin):
    """Tell the time in the format that is asked for."""

    zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default=_LOCAL, description="The time zone: local, or a name such as Europe/Berlin."
    )
    format: Annotated[str, AfterValidator(_known_format)] = Field(
        default="%Y-%m-%d %X", max_length=_MAX_REQUEST, description="The answer to an empty request."
    )

    replies: ClassVar[Replies] = Replies(factor=1, floor=_MAX_ANSWER)

    _now: Callable[[tzinfo | None], datetime] = PrivateAttr(default_factory=lambda: _wall_clock)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Build a protocol for each connection, with a request in each line."""
        return Factory.forProtocol(partial(_TimeStream, self._answering(), context.clock))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the protocol that answers each datagram."""
        return _TimeDatagrams(self._answering())

    def _answering(self) -> Callable[[bytes], bytes]:
        zone, now = _zone(self.zone), self._now
        return lambda request: _answer(request, self.format, now(zone))


@implementer(IHalfCloseableProtocol)
class _TimeStream(Protocol):
    transport: ITCPTransport
    _telnet: Telnet

    def __init__(self, answer: Callable[[bytes], bytes], clock: IReactorTime) -> None:
        self._answer = answer
        self._clock = clock
        self._lines = Lines(_MAX_REQUEST)
        self._next_turn: IDelayedCall | None = None
        self._refused = False

    @override
    def connectionMade(self) -> None:
        self._telnet = Telnet(lambda _: None)  # the answers to a telnet client's options are dropped

    @override
    def dataReceived(self, data: bytes) -> None:
        lines = self._lines.feed(self._telnet.feed(data))
        if self._refused or self._next_turn is not None:
            return
        try:
            for taken, line in enumerate(lines, 1):
                self._write(line)
                if taken == _LINES_PER_TURN:
                    IPushProducer(self.transport).pauseProducing()
                    self._next_turn = self._clock.callLater(0, self._take_turn)
                    return
        except FrameTooLong:
            self._refused = True
            self.transport.write(_TOO_LONG + self._telnet.line_end)
            self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        if rest := self._lines.rest().removesuffix(b"\r"):
            self._write(rest)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: no connection here ends its own side first."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._next_turn is not None:
            self._next_turn.cancel()

    def _take_turn(self) -> None:
        self._next_turn = None
        IPushProducer(self.transport).resumeProducing()
        self.dataReceived(b"")

    def _write(self, request: bytes) -> None:
        self.transport.write(self._answer(request) + self._telnet.line_end)


class _TimeDatagrams(DatagramProtocol):
    transport: IUDPTransport

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    @override
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int] | None) -> None:
        if addr is not None and not datagram.startswith(b"error:"):
            request = datagram.removesuffix(b"\n").removesuffix(b"\r")
            self.transport.write(self._answer(request), addr)
