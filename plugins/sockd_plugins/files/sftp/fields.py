"""Fields of SSH and SFTP messages (RFC 4251, 5)."""

from __future__ import annotations

from sockd_plugins.files.storage.pieces import Piece


class Malformed(Exception):
    """Message that ends within a field."""


class Fields:
    """Reader of the fields of a message, in their order.

    Args:
        message: bytes of the message.
        start: offset of the first field.
    """

    def __init__(self, message: Piece, start: int = 0) -> None:
        self._message = memoryview(message)
        self._at = start

    def take(self, size: int) -> memoryview:
        """Return the next bytes.

        Raises:
            Malformed: there are fewer.
        """
        begin, self._at = self._at, self._at + size
        if self._at > len(self._message):
            raise Malformed(f"expected {size} more bytes, found {len(self._message) - begin}")
        return self._message[begin : self._at]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """Return a number of 32 bits."""
        return int.from_bytes(self.take(4), "big")

    def long(self) -> int:
        """Return a number of 64 bits."""
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        """Return a string."""
        return bytes(self.take(self.number()))

    def text(self) -> str:
        """Return a string of UTF-8.

        Raises:
            Malformed: it is something else.
        """
        try:
            return self.string().decode()
        except UnicodeDecodeError:
            raise Malformed("expected UTF-8, found something else") from None


def string(data: bytes | str) -> bytes:
    """Return a string as a field."""
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(4, "big") + data


def number(value: int) -> bytes:
    """Return a number of 32 bits as a field."""
    return value.to_bytes(4, "big")


def long(value: int) -> bytes:
    """Return a number of 64 bits as a field."""
    return value.to_bytes(8, "big")
