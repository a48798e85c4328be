import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd.errors import ValueFault
from sockd.plugin import Context
from sockd_plugins.upper import Upper

CONTEXT = Context("upper", Clock(), Logger(), Path("state"))
PEER = ("192.0.2.1", 40_000)


ENCODINGS = ["utf-8", "latin-1", "cp1252", "koi8-r", "shift_jis", "gb18030", "euc_kr", "big5"]


class Sent(list[tuple[bytes, Any]]):
    """Datagram transport that records what is written."""

    def write(self, data: bytes, addr: Any) -> None:
        self.append((data, addr))


def connected(encoding: str = "utf-8") -> tuple[Any, StringTransport]:
    factory = Upper(encoding=encoding).stream_factory("default", CONTEXT)
    protocol = factory.buildProtocol(IPv4Address("TCP", *PEER))
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def streamed(pieces: list[bytes], encoding: str = "utf-8") -> bytes:
    """Return everything that comes back until the peer has ended its side and is closed."""
    protocol, transport = connected(encoding)
    for piece in pieces:
        protocol.dataReceived(piece)
    IHalfCloseableProtocol(protocol).readConnectionLost()
    assert transport.disconnecting
    value: bytes = transport.value()
    return value


def answered(datagram: bytes, addr: Any = PEER, encoding: str = "utf-8") -> Sent:
    sent = Sent()
    protocol: Any = Upper(encoding=encoding).datagram_protocol("default", CONTEXT)
    protocol.makeConnection(sent)
    protocol.datagramReceived(datagram, addr)
    return sent


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted(place % (len(stream) + 1) for place in places)
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


places = st.lists(st.integers(0, 1_000), max_size=10)
special = st.text(
    st.sampled_from("aßŉΐΰﬃǰ\u03c3\u03c2\u03a3İ\u0131iéдяÿ漢𐐨😀\r\n") | st.characters(codec="utf-8")
)


@given(text=special, places=places)
def test_the_answers_together_are_the_upper_case_of_the_whole_text_however_it_was_cut(
    text: str, places: list[int]
) -> None:
    expected = text.upper().encode()
    assert streamed(cut(text.encode(), places)) == expected
    assert streamed([bytes((byte,)) for byte in text.encode()]) == expected


def test_each_segment_is_answered_at_once_again_and_again() -> None:
    protocol, transport = connected()
    for piece, answer in ((b"stra", b"STRA"), (b"\xc3", b""), (b"\x9fe\n", b"SSE\n"), (b"more", b"MORE")):
        transport.clear()
        protocol.dataReceived(piece)
        assert transport.value() == answer
    assert not transport.disconnecting


def test_a_character_that_the_peer_left_unfinished_goes_back_before_the_end() -> None:
    assert streamed([b"caf\xc3"]) == b"CAF\xc3"
    assert streamed([b"\xf0\x9f\x98"]) == b"\xf0\x9f\x98"


@given(stream=st.binary(), places=places)
def test_bytes_that_are_no_text_come_back_as_they_are_however_they_were_cut(
    stream: bytes, places: list[int]
) -> None:
    expected = stream.decode("utf-8", "surrogateescape").upper().encode("utf-8", "surrogateescape")
    assert streamed(cut(stream, places)) == expected
    assert answered(stream) == [(expected, PEER)]


@pytest.mark.parametrize("hostile", [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\x80" * 9, b"\xf8\x88\x80"])
def test_hostile_bytes_pass_between_text_that_is_still_answered(hostile: bytes) -> None:
    assert streamed([b"a" + hostile + b"b"]) == b"A" + hostile + b"B"


@given(encoding=st.sampled_from(ENCODINGS), stream=st.binary(), places=places)
def test_in_no_encoding_do_hostile_bytes_raise_or_vanish(
    encoding: str, stream: bytes, places: list[int]
) -> None:
    assert len(streamed(cut(stream, places), encoding)) >= len(stream)
    assert len(answered(stream, encoding=encoding)[0][0]) >= len(stream)


@pytest.mark.parametrize(
    ("encoding", "text", "upper"),
    [
        ("latin-1", "straße", "STRASSE"),
        ("latin-1", "aÿµb", "AÿµB"),
        ("koi8-r", "привет", "ПРИВЕТ"),
        ("shift_jis", "abcд漢", "ABCД漢"),
        ("ascii", "abc", "ABC"),
    ],
)
def test_other_encodings_keep_a_character_whose_upper_case_they_lack(
    encoding: str, text: str, upper: str
) -> None:
    assert streamed([text.encode(encoding)], encoding) == upper.encode(encoding)
    assert answered(text.encode(encoding), encoding=encoding) == [(upper.encode(encoding), PEER)]


@given(text=special)
def test_each_datagram_is_one_text_with_one_answer(text: str) -> None:
    assert answered(text.encode()) == [(text.upper().encode(), PEER)]


def test_an_empty_datagram_is_answered_and_one_from_no_address_is_not() -> None:
    assert answered(b"") == [(b"", PEER)]
    assert answered(b"x", addr=None) == []


def test_no_answer_has_more_bytes_than_the_guard_lets_through() -> None:
    growth = [
        len(upper.encode()) / len(character.encode())
        for code in range(sys.maxunicode + 1)
        if (upper := (character := chr(code)).upper()) != character
    ]
    assert max(growth) == Upper.replies.factor == 3


@pytest.mark.parametrize("encoding", [*ENCODINGS, "ascii", "UTF8", "cp437"])
def test_encodings_that_extend_ascii_are_taken(encoding: str) -> None:
    assert Upper(encoding=encoding).encoding == encoding


@pytest.mark.parametrize(
    "encoding",
    [
        *("utf-9", "", "a\0b", "rot13", "base64", "idna", "undefined", "punycode"),
        *("utf-16", "utf-7", "utf-8-sig", "cp037", "hz", "iso2022_jp", "unicode_escape"),
        "raw_unicode_escape",
    ],
)
def test_an_encoding_that_is_unknown_or_does_not_extend_ascii_is_a_fault(encoding: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Upper(encoding=encoding)
    fault = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(fault, ValueFault)
    assert fault.found == repr(encoding)


def test_the_fault_names_the_encoding_that_was_probably_meant() -> None:
    with pytest.raises(ValidationError) as caught:
        Upper(encoding="utf-9")
    assert caught.value.errors()[0]["ctx"]["error"].nearest == "utf-8"
