from __future__ import annotations

import struct
from itertools import accumulate
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sockd.stream.proxy import MAX_HEADER, MAX_LINE, Address, HeaderFault, looks_like_header, parse, render

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
LOCAL, PROXY = 0x20, 0x21
NO_OP, CHECKSUM = 0x04, 0x03

V4 = IPv4Address("TCP", "192.168.0.1", 56324), IPv4Address("TCP", "192.168.0.11", 443)
V6 = IPv6Address("TCP", "2001:db8::1", 56324), IPv6Address("TCP", "::1", 443)
PATHS = UNIXAddress(b"/run/client.sock"), UNIXAddress(b"/run/server.sock")

V4_BLOCK = bytes([192, 168, 0, 1, 192, 168, 0, 11]) + struct.pack("!HH", 56324, 443)
V6_BLOCK = bytes.fromhex("20010db8" + "00" * 11 + "01" + "00" * 15 + "01") + struct.pack("!HH", 56324, 443)
UNIX_BLOCK = b"/run/client.sock".ljust(108, b"\0") + b"/run/server.sock".ljust(108, b"\0")

MISSING = "proxy header missing"
MALFORMED = "proxy header malformed"
TOO_LONG = "proxy header too long"
WRONG_SUM = "proxy header checksum"
REASONS = {MISSING, MALFORMED, TOO_LONG, WRONG_SUM}

Outcome = tuple[object, object, int, int] | str | None


def binary(command: int, family: int, block: bytes = b"", size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if size is None else size) + block


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def crc32c(data: bytes) -> int:
    """Bit by bit, as the remainder of a division."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def with_checksum(command: int, family: int, block: bytes, after: bytes = b"") -> bytes:
    empty = binary(command, family, block + extension(CHECKSUM, bytes(4)) + after)
    end = len(empty) - len(after)
    return empty[: end - 4] + crc32c(empty).to_bytes(4) + empty[end:]


def outcome(data: bytes) -> Outcome:
    """Return what is read from `data`, or the reason of the fault, or None if more is needed."""
    try:
        header = parse(data)
    except HeaderFault as fault:
        return fault.reason
    return None if header is None else (header.source, header.destination, header.length, header.version)


def stepwise(pieces: list[bytes]) -> Outcome:
    """Return the first outcome while pieces come in one by one."""
    found = map(outcome, accumulate(pieces, initial=b""))
    return next((each for each in found if each is not None), None)


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


LINES: dict[str, tuple[bytes, Address | None, Address | None]] = {
    "the specification's example": (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", *V4),
    "the longest of IPv4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        IPv4Address("TCP", "255.255.255.255", 65535),
        IPv4Address("TCP", "255.255.255.255", 65535),
    ),
    "the longest of IPv6": (
        b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n",
        IPv6Address("TCP", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
        IPv6Address("TCP", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    "IPv6 in short": (b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", *V6),
    "IPv6 in full and upper case": (
        b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0001 0:0:0:0:0:0:0:1 56324 443\r\n",
        *V6,
    ),
    "IPv4 within IPv6, as inet_ntop writes it": (
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:201 0 1\r\n",
        IPv6Address("TCP", "::ffff:192.0.2.1", 0),
        IPv6Address("TCP", "::ffff:192.0.2.1", 1),
    ),
    "unknown": (b"PROXY UNKNOWN\r\n", None, None),
    "unknown with addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, None),
    "unknown with anything": (b"PROXY UNKNOWN \r \n\0\xff\r\r\n", None, None),
    "unknown at its longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None, None),
}

BLOCKS: dict[str, tuple[bytes, Address | None, Address | None]] = {
    "IPv4": (binary(PROXY, 0x11, V4_BLOCK), *V4),
    "IPv6": (binary(PROXY, 0x21, V6_BLOCK), *V6),
    "UNIX": (binary(PROXY, 0x31, UNIX_BLOCK), *PATHS),
    "UNIX without names": (binary(PROXY, 0x31, bytes(216)), UNIXAddress(None), UNIXAddress(None)),
    "UNIX paths that fill their field": (
        binary(PROXY, 0x31, b"/" * 216),
        UNIXAddress(b"/" * 108),
        UNIXAddress(b"/" * 108),
    ),
    "UNIX paths with something behind their end": (
        binary(PROXY, 0x31, b"/a\0b".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")),
        UNIXAddress(b"/a"),
        UNIXAddress(None),
    ),
    "a health check": (binary(LOCAL, 0x00), None, None),
    "a health check with addresses": (binary(LOCAL, 0x11, V4_BLOCK), None, None),
    "a health check of no known family": (binary(LOCAL, 0xFF, b"anything"), None, None),
    "UDP over IPv4": (binary(PROXY, 0x12, V4_BLOCK), None, None),
    "UDP over IPv6": (binary(PROXY, 0x22, V6_BLOCK), None, None),
    "UNIX datagrams": (binary(PROXY, 0x32, UNIX_BLOCK), None, None),
    "unspecified": (binary(PROXY, 0x00), None, None),
    "unspecified with something": (binary(PROXY, 0x00, b"what?"), None, None),
    "a family without a transport": (binary(PROXY, 0x10, V4_BLOCK), None, None),
    "a transport without a family": (binary(PROXY, 0x01, V4_BLOCK), None, None),
    "with extensions": (
        binary(PROXY, 0x11, V4_BLOCK + extension(0x02, b"example.com") + extension(0xEA, b"")),
        *V4,
    ),
    "with a checksum": (with_checksum(PROXY, 0x11, V4_BLOCK), *V4),
    "with a checksum among others": (
        with_checksum(PROXY, 0x21, V6_BLOCK + extension(NO_OP, b"\1"), extension(NO_OP, b"\2")),
        *V6,
    ),
    "as long as may be": (
        binary(PROXY, 0x11, V4_BLOCK + extension(NO_OP, bytes(MAX_HEADER - 16 - 12 - 3))),
        *V4,
    ),
}

VALID = {
    **{f"version 1, {name}": (1, *rest) for name, rest in LINES.items()},
    **{f"version 2, {name}": (2, *rest) for name, rest in BLOCKS.items()},
}

FAULTY = {
    "another protocol": (b"GET / HTTP/1.0\r\n", MISSING),
    "lower case": (b"proxy TCP4 ", MISSING),
    "a TLS hello": (b"\x16\x03\x01", MISSING),
    "a broken signature": (SIGNATURE[:-1] + b"\r", MISSING),
    "no space": (b"PROXYTCP4", MALFORMED),
    "two spaces": (b"PROXY  TCP4", MALFORMED),
    "a tab": (b"PROXY\tTCP4", MALFORMED),
    "an unknown keyword": (b"PROXY UDP4", MALFORMED),
    "a keyword that goes on": (b"PROXY UNKNOWNS\r\n", MALFORMED),
    "nothing but the word": (b"PROXY\r\n", MALFORMED),
    "no addresses": (b"PROXY TCP4\r\n", MALFORMED),
    "no ports": (b"PROXY TCP4 1.2.3.4 1.2.3.4\r\n", MALFORMED),
    "one port": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", MALFORMED),
    "three ports": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", MALFORMED),
    "a space at the end": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", MALFORMED),
    "two spaces between": (b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", MALFORMED),
    "IPv6 for IPv4": (b"PROXY TCP4 :", MALFORMED),
    "IPv4 for IPv6": (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", MALFORMED),
    "three numbers": (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", MALFORMED),
    "a number too large": (b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", MALFORMED),
    "a leading zero": (b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", MALFORMED),
    "a zone": (b"PROXY TCP6 fe80::1%", MALFORMED),
    "seven groups": (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", MALFORMED),
    "two double colons": (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", MALFORMED),
    "a group too long": (b"PROXY TCP6 00001::2 ::1 1 2\r\n", MALFORMED),
    "a port too large": (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", MALFORMED),
    "a second port too large": (b"PROXY TCP4 1.2.3.4 1.2.3.4 2 65536\r\n", MALFORMED),
    "a port with a zero": (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", MALFORMED),
    "a port with a sign": (b"PROXY TCP4 1.2.3.4 1.2.3.4 +", MALFORMED),
    "a port of other digits": ("PROXY TCP4 1.2.3.4 1.2.3.4 \u0663".encode(), MALFORMED),
    "a line ended by LF": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", MALFORMED),
    "a line ended by CR": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rQ", MALFORMED),
    "unknown ended by LF": (b"PROXY UNKNOWN\n", MALFORMED),
    "unknown ended by two CR": (b"PROXY UNKNOWN\r\r", MALFORMED),
    "a line too long": (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", TOO_LONG),
    "a line without end": (b"PROXY TCP4 " + b"1" * 96, TOO_LONG),
    "version 1 in binary": (SIGNATURE + b"\x11", MALFORMED),
    "version 3 in binary": (SIGNATURE + b"\x31", MALFORMED),
    "an unknown command": (SIGNATURE + b"\x22", MALFORMED),
    "an unknown family": (SIGNATURE + b"\x21\x41", MALFORMED),
    "an unknown transport": (SIGNATURE + b"\x21\x13", MALFORMED),
    "less than two IPv4 addresses": (binary(PROXY, 0x11, size=11), MALFORMED),
    "less than two IPv6 addresses": (binary(PROXY, 0x21, size=35), MALFORMED),
    "less than two UNIX addresses": (binary(PROXY, 0x31, size=215), MALFORMED),
    "less than two UDP addresses": (binary(PROXY, 0x12, size=11), MALFORMED),
    "a block too long": (binary(PROXY, 0x11, size=MAX_HEADER - 16 + 1), TOO_LONG),
    "a health check too long": (binary(LOCAL, 0x00, size=0xFFFF), TOO_LONG),
    "half an extension": (binary(PROXY, 0x11, V4_BLOCK + b"\x04\0"), MALFORMED),
    "an extension past the end": (binary(PROXY, 0x11, V4_BLOCK + b"\x04\0\1"), MALFORMED),
    "a wrong checksum": (binary(PROXY, 0x11, V4_BLOCK + extension(CHECKSUM, bytes(4))), WRONG_SUM),
    "a short checksum": (binary(PROXY, 0x11, V4_BLOCK + extension(CHECKSUM, bytes(3))), MALFORMED),
    "two checksums": (with_checksum(PROXY, 0x11, V4_BLOCK, extension(CHECKSUM, bytes(4))), MALFORMED),
}


@pytest.mark.parametrize(("version", "data", "source", "destination"), list(VALID.values()), ids=list(VALID))
def test_a_valid_header_gives_its_addresses_and_ends_where_the_payload_begins(
    version: int, data: bytes, source: Address | None, destination: Address | None
) -> None:
    expected = (source, destination, len(data), version)
    assert outcome(data) == expected
    assert outcome(data + b"PROXY payload\r\n") == expected


@pytest.mark.parametrize("data", [data for _, data, *_ in VALID.values()], ids=list(VALID))
def test_a_valid_header_that_comes_byte_by_byte_is_known_with_its_last_byte(data: bytes) -> None:
    assert stepwise(bytewise(data[:-1])) is None
    assert stepwise(bytewise(data)) == outcome(data)


@pytest.mark.parametrize(("data", "reason"), FAULTY.values(), ids=list(FAULTY))
def test_what_cannot_be_a_header_is_a_fault_whatever_follows(data: bytes, reason: str) -> None:
    assert outcome(data) == reason
    assert outcome(data + b"\r\n" + bytes(MAX_HEADER)) == reason


@pytest.mark.parametrize(("data", "reason"), FAULTY.values(), ids=list(FAULTY))
def test_a_fault_has_the_same_reason_byte_by_byte(data: bytes, reason: str) -> None:
    assert stepwise(bytewise(data)) == reason


@pytest.mark.parametrize(
    "data",
    [b"G", b"PROXX", b"PROXY T\r", b"PROXY TCP4 1.2.3.4 x", SIGNATURE + b"\x21\x11\0\x0b"],
)
def test_a_fault_is_told_with_the_first_byte_that_makes_it_certain(data: bytes) -> None:
    assert stepwise(bytewise(data[:-1])) is None
    assert outcome(data) in REASONS


def test_a_stream_that_never_becomes_a_header_is_cut_at_the_limit_of_a_line() -> None:
    endless = b"PROXY UNKNOWN " + bytes(MAX_LINE)
    assert outcome(endless[: MAX_LINE - 1]) is None
    assert outcome(endless[:MAX_LINE]) == TOO_LONG


def test_the_checksum_of_the_tests_is_that_of_the_rfc() -> None:
    """RFC 3720, B.4; the catalogue of checksums has the digits."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("at", [*range(13, 28), *range(31, 35)])
def test_a_checksum_tells_of_every_changed_byte_that_still_reads_as_a_header(at: int) -> None:
    data = bytearray(with_checksum(PROXY, 0x11, V4_BLOCK))
    data[at] ^= 0x03 if at == 13 else 0x01  # 0x12 at 13: datagrams, with the same addresses
    if at in (14, 15):  # the length: not the same bytes are meant
        assert outcome(bytes(data)) in (None, MALFORMED)
    else:
        assert outcome(bytes(data)) == WRONG_SUM


def test_the_beginning_tells_whether_there_is_a_header() -> None:
    assert looks_like_header(b"") is None
    for start in (b"PROXY", SIGNATURE):
        assert [looks_like_header(start[:known]) for known in range(len(start))] == [None] * len(start)
        assert looks_like_header(start) is True
        assert looks_like_header(start + b"more") is True
    for other in (b"GET /", b"PROX ", b"\r\n\r\nhello", b"\x16"):
        assert looks_like_header(other) is False


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pair", [V4, V6, (None, None)], ids=["IPv4", "IPv6", "none"])
def test_a_rendered_header_is_read_as_it_was_meant(
    pair: tuple[Address | None, Address | None], version: Literal[1, 2]
) -> None:
    data = render(*pair, version)
    assert outcome(data) == (*pair, len(data), version)


def test_a_rendered_header_is_that_of_the_specification() -> None:
    assert render(*V4, 1) == LINES["the specification's example"][0]
    assert render(*V6, 1) == LINES["IPv6 in short"][0]
    assert render(*V4, 2) == BLOCKS["IPv4"][0]
    assert render(*V6, 2) == BLOCKS["IPv6"][0]
    assert render(*PATHS, 2) == BLOCKS["UNIX"][0]
    assert render(UNIXAddress(None), UNIXAddress(None), 2) == BLOCKS["UNIX without names"][0]
    assert render(None, None, 2) == BLOCKS["a health check"][0]


def test_version_1_has_no_words_for_unix_sockets() -> None:
    assert render(*PATHS, 1) == b"PROXY UNKNOWN\r\n"


def test_the_zone_of_an_address_stays_on_its_own_machine() -> None:
    data = render(IPv6Address("TCP", "fe80::1%eth0", 1), V6[1], 1)
    assert data == b"PROXY TCP6 fe80::1 ::1 1 443\r\n"


@pytest.mark.parametrize("pair", [(V4[0], V6[0]), (V6[0], PATHS[0]), (PATHS[0], V4[0])])
def test_addresses_of_two_families_make_no_header(pair: tuple[Address, Address]) -> None:
    with pytest.raises(ValueError, match="expected two addresses of one family"):
        render(*pair, 2)


headers = st.sampled_from([data for _, data, *_ in VALID.values() if len(data) < 500])
faults = st.sampled_from([data for data, _ in FAULTY.values()])
hosts = st.ip_addresses()
ports = st.integers(0, 65535)


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    stream = draw(headers | faults) + draw(st.binary(max_size=30))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@st.composite
def almost_headers(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(headers))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


@given(cut_streams())
def test_what_is_read_does_not_depend_on_how_the_stream_was_cut(pieces: list[bytes]) -> None:
    assert stepwise(pieces) == outcome(b"".join(pieces))


@settings(max_examples=300)
@given(st.binary(max_size=300) | almost_headers())
@example(b"PROXY TCP4 . . 0 0\r\n")
@example(b"PROXY TCP6 :::: :::: 0 0\r\n")
def test_any_bytes_are_a_header_within_them_or_a_known_fault_or_need_more(data: bytes) -> None:
    found = outcome(data)
    if isinstance(found, tuple):
        assert 0 < found[2] <= len(data)
    else:
        assert found is None or found in REASONS
    assert (looks_like_header(data) is False) == (found == MISSING)


@given(hosts, ports, ports, st.sampled_from([1, 2]))
def test_every_address_survives_being_written_and_read(
    host: object, port: int, other_port: int, version: Literal[1, 2]
) -> None:
    kind = IPv6Address if ":" in str(host) else IPv4Address
    data = render(kind("TCP", str(host), port), kind("TCP", str(host), other_port), version)
    header = parse(data)
    assert header is not None
    assert isinstance(header.source, kind)
    assert isinstance(header.destination, kind)
    assert (header.source.port, header.destination.port) == (port, other_port)
    assert render(header.source, header.destination, version) == data
