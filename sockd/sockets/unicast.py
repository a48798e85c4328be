"""Filter in the kernel for datagrams that must not be answered, as their headers alone show.

It drops three kinds: datagrams sent to a group or to broadcast, because one forged datagram would bring the
answers of all receivers; datagrams from such an address, which cannot be answered; and answers of other
sockd daemons, which carry a mark. A server that answers an answer keeps a loop of two servers going
(CVE-2024-2169).

The filter is a classic BPF program of the socket (Linux, networking/filter.rst): dropped datagrams cost the
daemon nothing. The kernel counts them among its drops.
"""

from __future__ import annotations

import ctypes
import socket
import struct

ANSWER = 7
"""Code point (DSCP) of every answer. It ends in 11, which is for local use, and begins with 000, so that
networks treat it as they treat 0 (RFC 2474, sections 4.2.2 and 6)."""

SO_ATTACH_FILTER = 26
LOAD_WORD, LOAD_HALF, LOAD_BYTE, AND = 0x20, 0x28, 0x30, 0x54
IF_EQUAL, IF_AT_LEAST, RETURN = 0x15, 0x35, 0x06
PACKET_TYPE, PROTOCOL, NETWORK_HEADER, PACKET_HOST, ETHERTYPE_IPV4 = (
    0xFFFFF004,
    0xFFFFF000,
    0xFFF00000,
    0,
    0x0800,
)
"""Numbers of Linux (asm-generic/socket.h, linux/filter.h, linux/if_packet.h); Python has no names for them.
"""

PASS, DROP = 0xFFFFFFFF, 0
"""Bytes of a datagram that the program lets through."""

Check = tuple[int, int, int, int, int]
"""Comparison: instruction that loads a value, its offset in the network header, mask of its bits,
instruction that compares it, and operand. A datagram for which the comparison holds is dropped."""


def take_only_requests(sock: socket.socket) -> None:
    """Let a UDP socket receive only requests that were sent to this machine alone; mark its answers."""
    code = ctypes.create_string_buffer(_PROGRAM)
    count = len(_PROGRAM) // _STEP.size
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", count, ctypes.addressof(code)))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ANSWER << 2)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ANSWER << 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 0)  # IP_TOS has changed it


_STEP = struct.Struct("=HBBI")
"""`struct sock_filter`: instruction, steps to skip if it holds and if not, and operand."""


def _dropping(*checks: Check) -> list[tuple[int, int, int, int]]:
    """Build the steps that drop a datagram for which any check holds, and pass the rest."""
    steps: list[tuple[int, int, int, int]] = []
    for number, (load, place, bits, compare, value) in enumerate(checks):
        to_drop = 3 * (len(checks) - number - 1) + 1
        steps += [(load, 0, 0, NETWORK_HEADER + place), (AND, 0, 0, bits), (compare, to_drop, 0, value)]
    return [*steps, (RETURN, 0, 0, PASS), (RETURN, 0, 0, DROP)]


_IPV4 = _dropping(
    (LOAD_BYTE, 1, 0xFC, IF_EQUAL, ANSWER << 2),
    (LOAD_BYTE, 16, 0xFF, IF_AT_LEAST, 224),
    (LOAD_BYTE, 12, 0xFF, IF_AT_LEAST, 224),
)
"""Checks for the code point, and for the first byte of destination and source: groups and 255.255.255.255."""

_IPV6 = _dropping(
    (LOAD_HALF, 0, 0x0FC0, IF_EQUAL, ANSWER << 6),
    (LOAD_BYTE, 24, 0xFF, IF_AT_LEAST, 0xFF),
    (LOAD_BYTE, 8, 0xFF, IF_AT_LEAST, 0xFF),
)
"""Checks for the code point, and for groups."""

_PROGRAM = b"".join(
    _STEP.pack(*step)
    for step in (
        # Sent to a broadcast or multicast address of the link layer, as the packet's type tells.
        (LOAD_WORD, 0, 0, PACKET_TYPE),
        (IF_EQUAL, 1, 0, PACKET_HOST),
        (RETURN, 0, 0, DROP),
        # A socket for IPv6 may take IPv4 as well.
        (LOAD_WORD, 0, 0, PROTOCOL),
        (IF_EQUAL, 0, len(_IPV4), ETHERTYPE_IPV4),
        *_IPV4,
        *_IPV6,
    )
)
