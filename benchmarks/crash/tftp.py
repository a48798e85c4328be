"""Sender over TFTP, with large blocks (RFC 2348) and one block at a time."""

from __future__ import annotations

import socket
from contextlib import suppress

from benchmarks.crash.daemon import HOST
from benchmarks.crash.sending import PATIENCE, Sending

_BLOCK = 65_464  # RFC 2348 permits no larger one

_REPEAT = 0.5
"""Seconds after which a packet is repeated; the kernel refuses a repeated one if the daemon has gone."""

_WRITE, _DATA, _ACK, _ERROR, _OPTIONS = (number.to_bytes(2, "big") for number in (2, 3, 4, 5, 6))


class Tftp:
    """Sender of whole files over TFTP."""

    protocol = "tftp"
    resumes = False
    names = True
    size = (9 << 20) + 4321

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:  # noqa: ARG002  # cannot
        """Implement `Client.send`."""
        sending.refused = ""
        request = f"{sending.name}\0octet\0tsize\0{len(sending.data)}\0blksize\0{_BLOCK}\0"
        with suppress(ConnectionError), socket.socket(type=socket.SOCK_DGRAM) as own:
            own.settimeout(_REPEAT)
            own.connect((HOST, port))
            if not self._exchange(own, _WRITE + request.encode(), _OPTIONS, sending):
                return
            for number, start in enumerate(range(0, len(sending.data) + 1, _BLOCK), 1):
                block = (number % 65536).to_bytes(2, "big")
                packet = _DATA + block + sending.data[start : start + _BLOCK]
                if not self._exchange(own, packet, _ACK + block, sending):
                    return
            sending.stored = sending.name

    @staticmethod
    def _exchange(own: socket.socket, packet: bytes, answer: bytes, sending: Sending) -> bool:
        """Send a packet until its answer comes; return False if the answer is an error."""
        for _ in range(round(PATIENCE / _REPEAT)):
            own.send(packet)
            with suppress(TimeoutError):
                while not (got := own.recv(1024)).startswith(answer):
                    if got.startswith(_ERROR):
                        sending.refused = got[4:-1].decode()
                        return False
                return True
        raise TimeoutError(f"no answer within {PATIENCE:g} s")
