from __future__ import annotations

import os

import pytest

from sockd_plugins.files.sftp.ciphers import (
    CTR,
    GCM,
    LARGEST,
    Opening,
    PacketFault,
    Plain,
    Seal,
    make_opening,
    make_seal,
)

MATERIAL = tuple(os.urandom(64) for _ in range(3))
NAMES = [b"plain", *GCM, *CTR]


def pair(name: bytes, mac: bytes = b"hmac-sha2-512") -> tuple[Seal, Opening]:
    if name == b"plain":
        return Plain(), Plain()
    return make_seal(name, mac, *MATERIAL), make_opening(name, mac, *MATERIAL)


def opened(opening: Opening, stream: bytes, pieces: int) -> list[bytes]:
    found: list[bytes] = []
    data, at, needed = b"", 0, 1
    for start in range(0, len(stream), pieces):
        data += stream[start : start + pieces]
        while len(data) - at >= needed:
            payload, end = opening.open(memoryview(data), at, len(found))
            if payload is None:
                assert end > len(data) - at, "more is needed than is there"
                needed = end
                break
            found.append(bytes(payload))
            at, needed = end, 1
    assert at == len(data)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pieces", [1, 7, 16, 1000, 1 << 20])
def test_packets_arrive_as_they_were_sent_however_they_are_cut(name: bytes, pieces: int) -> None:
    seal, opening = pair(name)
    payloads = [os.urandom(size) for size in [*range(1, 40), 1000]]
    stream = b"".join(seal.seal(number, payload) for number, payload in enumerate(payloads))
    assert opened(opening, stream, pieces) == payloads


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_changed_packet_is_noticed(name: bytes) -> None:
    for at in range(0, 100, 3):
        seal, opening = pair(name, b"hmac-sha2-256")
        packet = bytearray(seal.seal(0, bytes(80)))
        packet[at] ^= 1
        with pytest.raises(PacketFault):
            opening.open(memoryview(bytes(packet) + bytes(LARGEST)), 0, 0)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_repeated_packet_is_noticed(name: bytes) -> None:
    seal, opening = pair(name)
    packet = seal.seal(0, b"once")
    data = memoryview(packet + packet + bytes(LARGEST))
    _, end = opening.open(data, 0, 0)
    with pytest.raises(PacketFault):
        opening.open(data, end, 1)


@pytest.mark.parametrize("length", [0, 1, 7, LARGEST + 16, 0xFFFFFFFF])
def test_a_length_that_no_packet_has_is_refused_before_its_bytes_come(length: int) -> None:
    with pytest.raises(PacketFault):
        Plain().open(memoryview(length.to_bytes(4, "big")), 0, 0)


def test_more_padding_than_bytes_is_refused() -> None:
    with pytest.raises(PacketFault):
        Plain().open(memoryview(bytes((0, 0, 0, 12, 12)) + bytes(11)), 0, 0)
