"""Mode netascii: text as Telnet sends it (RFC 764), which RFC 1350 takes over."""

from __future__ import annotations


class Netascii:
    """Decoder of netascii, piece by piece: CR LF is a line end, CR NUL a carriage return.

    A bare LF or CR stays as it is: curl and others name the mode, but do not convert.
    """

    def __init__(self) -> None:
        self._held = b""

    def decode(self, data: bytes) -> bytes:
        """Return the text of the next bytes; a CR at their end waits for what follows."""
        text = self._held + data
        self._held = b""
        if text.endswith(b"\r"):
            text, self._held = text[:-1], b"\r"
        return text.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")

    def end(self) -> bytes:
        """Return the text that waits for more, when there is no more."""
        held, self._held = self._held, b""
        return held
