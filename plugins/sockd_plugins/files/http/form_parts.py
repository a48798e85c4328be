"""Parts of a form (multipart/form-data, RFC 7578), read one after another as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from sockd_plugins.files.http.request import Request
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused

MOST_PARTS = 10_000
"""Parts of a form; a browser sends a folder as one form."""

_MOST_BOUNDARY = 200  # bytes; RFC 2046, 5.1.1 has 70
_STEP = 1 << 16  # bytes to read between two files

_Event = Any
"""Part that begins, data of it, or None where it ends."""

_NONE = object()


class FormBroken(Exception):
    """Form that cannot be read any further; `refused` tells why."""

    def __init__(self, refused: FileRefused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def is_form(request: Request) -> bool:
    """Tell whether the body of a request is a form with files."""
    return (request.headers.get("content-type") or "").lower().startswith("multipart/")


class FormParts:
    """Reader of the parts of a form.

    Args:
        request: whose body is the form.

    Raises:
        FileRefused: it is no form.
    """

    def __init__(self, request: Request) -> None:
        kind, options = parse_options_header(request.headers.get("content-type") or "")
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= _MOST_BOUNDARY or "\n" in boundary:
            raise FileRefused("bad-request", "expected multipart/form-data with a boundary")
        self._request = request
        self._parser = PushMultipartParser(boundary, max_segment_count=MOST_PARTS)
        self._events: Iterator[_Event] = iter(())
        self._ended = True  # the current part

    async def next(self) -> MultipartSegment | None:
        """Go on to the next part, past what is left of the current one; None at the end of the form.

        Raises:
            FormBroken: the form is malformed, or has ended early.
            Gone: the connection broke.
        """
        while True:
            while (event := self._parsed()) is not _NONE:
                if isinstance(event, MultipartSegment):
                    self._ended = False
                    return event
            if not await self._more(_STEP, None):
                return None

    async def read(self, size: int, within: float | None = None) -> list[Piece]:
        """Return the next data of the current part, about `size` bytes; none at its end.

        Raises:
            FormBroken: the form is malformed, or has ended early.
            Gone: the connection broke.
        """
        data: list[Piece] = []
        while not self._ended:
            while (event := self._parsed()) is not _NONE:
                if event is None:
                    self._ended = True
                    break
                data.append(event)
            if data or self._ended or not await self._more(size, within):
                break
        return data

    def _parsed(self) -> _Event:
        """Return the next event of what was read; `_NONE` if there is none."""
        try:
            return next(self._events, _NONE)
        except MultipartError as error:
            raise FormBroken(FileRefused("bad-request", f"expected a form: {error}")) from None

    async def _more(self, size: int, within: float | None) -> bool:
        """Read and parse more; return False at the end of the form."""
        try:
            pieces = await self._request.read(size, within)
        except FileRefused as refused:
            raise FormBroken(refused) from None
        if not pieces:
            try:
                self._parser.close()
            except MultipartError:
                raise FormBroken(FileRefused("incomplete", "the form has no end")) from None
            return False
        self._events = (event for piece in pieces for event in self._parser.parse(_plain(piece)))
        return True


def _plain(piece: Piece) -> bytes | bytearray:
    return bytes(piece) if isinstance(piece, memoryview) else piece
