"""Has the kernel drop datagrams that must not be answered because of their addresses alone.

What was sent to many would bring all of their answers, for one forged datagram; what claims to come from
many has no sender to answer. A classic BPF program of the socket tells (Linux, networking/filter.rst), so
that such datagrams cost nothing; they are among those that the kernel counts as dropped.
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_FILTER = 26
LOAD_WORD, LOAD_BYTE, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x30, 0x15, 0x35, 0x06
PACKET_TYPE, NETWORK_HEADER, PACKET_HOST = 0xFFFFF004, 0xFFF00000, 0
"""Linux' numbers (asm-generic/socket.h, linux/filter.h, linux/if_packet.h), which Python has no names for."""

PASS, DROP = 0xFFFFFFFF, 0
"""Bytes of a datagram that the program lets through."""

Step = tuple[int, int, int, int]
"""What to do, how many steps to pass over if so and if not so, and the operand."""


def take_only_unicast(sock: socket.socket) -> None:
    """From one sender, to this machine alone."""
    program = _IPV6 if sock.family == socket.AF_INET6 else _IPV4
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
    )


def _program(*most: tuple[int, int]) -> tuple[Step, ...]:
    """Drop what was sent to the link layer's broadcast or multicast addresses, as the packet's type tells.

    Args:
        most: where a byte is, and from which value on it is dropped too.
    """
    checks: list[Step] = []
    for number, (place, least) in enumerate(most):
        to_drop = 2 * (len(most) - number - 1) + 1
        checks += [(LOAD_BYTE, 0, 0, NETWORK_HEADER + place), (IF_AT_LEAST, to_drop, 0, least)]
    return (
        (LOAD_WORD, 0, 0, PACKET_TYPE),
        (IF_EQUAL, 0, len(checks) + 1, PACKET_HOST),
        *checks,
        (RETURN, 0, 0, PASS),
        (RETURN, 0, 0, DROP),
    )


_IPV4 = _program((16, 224), (12, 224))
"""The first byte of the destination and of the source: groups, and 255.255.255.255."""

_IPV6 = _program((24, 0xFF), (8, 0xFF))
"""Likewise: groups."""
