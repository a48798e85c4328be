"""Fuzzes `sockd.proxy`: whatever comes is a header, a fault or unfinished, the same however it was cut."""

from __future__ import annotations

import struct
import sys
from random import Random

import fuzzing

from sockd.stream import proxy

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
BLOCKS = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
HOSTS = (b"192.0.2.1", b"255.255.255.255", b"0.0.0.0", b"::", b"2001:db8::1", b"::ffff:192.0.2.1")
PORTS = (b"0", b"1", b"443", b"65535", b"65536", b"007")
WORDS = (
    *(b"\r\n", b"\r", b"\n", b" ", b"  ", b"\0", b".", b":", b"::", b"%1", b"0", b"-", b"+", b"_", b"\xff"),
    *(SIGNATURE, b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"\x20", b"\x21", b"\x03\0\x04", b"\x04\0\0"),
    *(*HOSTS, *PORTS, b"f" * 100),
)
PLACES = 64
"""How many beginnings of an input are tried."""


def line(random: Random) -> bytes:
    kind = random.choice((b"TCP4", b"TCP6", b"UNKNOWN"))
    fields = [b"PROXY", kind, *random.choices(HOSTS, k=2), *random.choices(PORTS, k=2)]
    return b" ".join(fields) + b"\r\n"


def block(random: Random) -> bytes:
    command = random.choice((0x20, 0x21, 0x21, 0x21))
    family = random.choice(list(BLOCKS))
    addresses = random.randbytes(BLOCKS[family])
    extensions = [extension(random) for _ in range(random.randint(0, 3))]
    checksum = b"\x03\0\x04\0\0\0\0"
    after = b"".join(extensions)
    tail = addresses + random.choice((after, checksum + after))
    data = SIGNATURE + struct.pack("!BBH", command, family, len(tail)) + tail
    at = len(SIGNATURE) + 4 + len(addresses)
    if tail[len(addresses) :].startswith(checksum):
        data = data[: at + 3] + proxy._crc32c(data).to_bytes(4) + data[at + 7 :]
    return data


def extension(random: Random) -> bytes:
    value = random.randbytes(random.choice((0, 1, 4, 20, 250)))
    return struct.pack("!BH", random.choice((0x01, 0x02, 0x04, 0x05, 0x20, 0xEA)), len(value)) + value


def make(random: Random) -> bytes:
    data = random.choice((line, block))(random) + random.choice((b"", b"payload", b"more\r\n"))
    if random.random() < 0.9:
        data = fuzzing.mutate(random, data, WORDS)
    if data.startswith(SIGNATURE) and len(data) >= 16 and random.random() < 0.5:
        data = data[:14] + struct.pack("!H", min(len(data) - 16, 0xFFFF)) + data[16:]
    return data


def outcome(data: bytes) -> proxy.Header | str | None:
    try:
        return proxy.parse(data)
    except proxy.HeaderFault as fault:
        return fault.reason


def check(data: bytes) -> None:
    found = outcome(data)
    for known in range(0, len(data), 1 + len(data) // PLACES):
        sooner = outcome(data[:known])
        assert sooner is None or sooner == found, f"{sooner} from {known} bytes, {found} from all"
        assert not isinstance(sooner, proxy.Header) or sooner.length <= known
    assert (proxy.looks_like_header(data) is False) == (found == "proxy header missing")
    longest = proxy.MAX_LINE if data.startswith(b"PROXY") else proxy.MAX_HEADER
    if found is None:
        assert len(data) < longest
    elif isinstance(found, proxy.Header):
        assert 0 < found.length <= min(len(data), longest)
        again = proxy.parse(proxy.render(found.source, found.destination, 1 if found.version == 1 else 2))
        assert again is not None
        assert (again.source, again.destination) == (found.source, found.destination)
        hash(found)


if __name__ == "__main__":
    sys.exit(fuzzing.run(make, check))
