"""Upper: sends text back in upper case.

Over streams every segment is answered at once, until the peer closes. Lines and other boundaries do not
matter: a character that is cut between segments is answered when it is whole, so the answers together are the
upper case of the whole text. A peer that ends its sending side gets the bytes of an unfinished character
unchanged; then the connection closes. Over datagrams each one is a text of its own, with one answer.

Upper case is Unicode's: `straße` becomes `STRASSE`, and an answer may be up to three times as long as its
text (U+0390, 2 bytes of UTF-8, becomes three characters with 6). A character stays as it is if the encoding
lacks its upper case (`ÿ` in Latin-1), and so does every byte that is no text in the encoding: a hostile peer
gets its own bytes back, and nothing else happens. The plugin has no errors and no limits.
"""

from __future__ import annotations

import codecs
import difflib
from encodings.aliases import aliases
from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, ITransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from typing_extensions import override
from zope.interface import implementer

from sockd.errors import ValueFault
from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies

_GROWTH = 3
"""Bytes of upper case for a byte of text at most: U+0390 and U+03B0 in UTF-8."""

_ASCII = b"aZ\\u0041 +AEE- ~{!!~} \x1b$B%"
"""Text that UTF-7, HZ, ISO 2022 and Python's own escapes would decode differently."""

_ESCAPE = "surrogateescape"
"""Error handler that passes bytes that are no text; it needs an encoding that extends ASCII."""


def _extending_ascii(name: str) -> str:
    try:
        text = _ASCII.decode(name, _ESCAPE)
        if text == _ASCII.decode("ascii") and text.encode(name) == _ASCII:
            return name
    except (LookupError, ValueError):  # unknown, no text encoding, or one that fails on ASCII
        pass
    names = {module.replace("_", "-") for module in aliases.values()}
    nearest = next(iter(difflib.get_close_matches(name, names, n=1)), None)
    raise ValueFault("a text encoding that extends ASCII, such as utf-8", repr(name), nearest=nearest)


@implementer(IStreamPlugin, IDatagramPlugin)
class Upper(Plugin):
    """Answer text in upper case."""

    encoding: Annotated[str, AfterValidator(_extending_ascii)] = Field(
        default="utf-8", description="Encoding of the text: any of Python's that extends ASCII."
    )

    replies: ClassVar[Replies] = Replies(factor=_GROWTH)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Build a protocol for each connection, which is one text."""
        return Factory.forProtocol(partial(_UpperStream, self.encoding))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the protocol that answers each datagram, which is one text."""
        return _UpperDatagrams(self.encoding)


@implementer(IHalfCloseableProtocol)
class _UpperStream(Protocol):
    transport: ITransport

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(_ESCAPE)

    @override
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(_upper(self._decoder.decode(data), self._encoding))

    def readConnectionLost(self) -> None:
        unfinished, _ = self._decoder.getstate()
        self.transport.write(unfinished)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: no connection here ends its own side first."""


class _UpperDatagrams(DatagramProtocol):
    transport: IUDPTransport

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    @override
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int] | None) -> None:
        if addr is not None:
            text = datagram.decode(self._encoding, _ESCAPE)
            self.transport.write(_upper(text, self._encoding), addr)


def _upper(text: str, encoding: str) -> bytes:
    try:
        return text.upper().encode(encoding, _ESCAPE)
    except UnicodeEncodeError:
        return b"".join(_upper_or_same(character, encoding) for character in text)


def _upper_or_same(character: str, encoding: str) -> bytes:
    try:
        return character.upper().encode(encoding, _ESCAPE)
    except UnicodeEncodeError:
        return character.encode(encoding, "replace")  # some encodings have characters only for decoding
