"""Connection of a run to a web server: files by PUT, or by tus where the server speaks it.

https://tus.io/protocols/resumable-upload describes tus 1.0.
"""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote, urljoin, urlsplit

from sockd.cli.send.channel import Interrupted, Lost
from sockd.cli.send.items import BAD_NAME, Item, is_utf8
from sockd.cli.send.run import Run
from sockd.cli.send.service import Denied
from sockd.cli.send.source import Source, Unreadable
from sockd.cli.send.target import KEPT
from sockd.cli.send.web import Response, Web
from sockd.cli.send.work import Outcome

_FIRST_PIECE = 1 << 20
_MOST_PIECE = 16 << 20
"""Bytes of a request of tus. After each the server tells what it has, and a checksum covers it: what breaks
off may be lost as a whole, so that slow connections send small ones."""

_QUICK = 1.0  # seconds for a request, below which the next is twice as large
_SLOW = 5.0  # seconds above which it is half as large

_LATER = {408, 423, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed."""

_GONE = {403, 404, 410}  # there is no such upload any more

_MOST_WAIT = 60.0  # seconds that a server may ask to wait

_OK = re.compile(r"ok (.+) \d+ (sha256|blake3)=([0-9a-f]+)\s*", re.DOTALL)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")

_OFFSET = re.compile(r"\d{1,19}", re.ASCII)

_TUS = {"Tus-Resumable": "1.0.0"}


class WebLane:
    """Connection to a web server, until nothing waits any more.

    Args:
        web: the connection.
        run: the run of the command.
        alone: whether there is one file only.
    """

    def __init__(self, web: Web, run: Run, *, alone: bool) -> None:
        self._web = web
        self._run = run
        self._alone = alone

    def run(self, opened: Callable[[], object]) -> None:
        """Send files until none waits.

        Args:
            opened: called when the server has answered.

        Raises:
            Lost: the connection broke; the file waits again.
            Denied: the server takes nothing.
            Interrupted: the run is to end.
        """
        work = self._run.work
        try:
            features = self._features()
            opened()
            while item := work.take_large() or work.take_small():
                try:
                    if work.interrupted:
                        raise Interrupted
                    self._send(item, features)
                finally:
                    work.put_back([item])  # unless it has its outcome
        finally:
            self._web.close()

    def _features(self) -> frozenset[str] | None:
        """Return the extensions of tus that the server has; None if it does not speak tus."""
        answer = self._web.ask("OPTIONS", self._web.address.location)
        if answer.status == 401:
            raise Denied(answer.why)
        if answer.status in _LATER:
            self._wait(answer)
        if "1.0.0" not in answer.fields.get("tus-version", ""):
            return None
        found = {word.strip() for word in answer.fields.get("tus-extension", "").split(",")}
        algorithms = answer.fields.get("tus-checksum-algorithm", "")
        found |= {f"checksum {word.strip()}" for word in algorithms.split(",")}
        return frozenset(found) if "creation" in found else None

    def _send(self, item: Item, features: frozenset[str] | None) -> None:
        """Send a file, and note its outcome."""
        unsized = features is None or "creation-defer-length" not in features
        try:
            if not is_utf8(item.name):
                raise Unreadable(BAD_NAME)
            source = self._run.open(item, spooled=unsized)
            if features is None:
                outcome = self._put(item, source)
            else:
                outcome = self._send_by_tus(item, source, features)
        except Unreadable as error:
            if item.id and features and "termination" in features:
                with suppress(Lost):  # the server removes it later
                    self._web.ask("DELETE", item.id, _TUS)
            outcome = Outcome(item, "unreadable", why=str(error))
        self._run.end(outcome)

    def _put(self, item: Item, source: Source) -> Outcome:
        """Send a file with one request."""
        digest = source.rewind(0, "sha256")
        size, sent = source.size or 0, 0

        def body() -> Iterator[bytes | memoryview]:
            nonlocal sent
            while data := source.read():
                digest.update(data)
                sent += len(data)
                if sent == size:  # without its last bytes the server has no file
                    source.check()
                yield data

        path = self._web.address.path_of(item.name, alone=self._alone)
        fields = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        answer = self._web.ask("PUT", path, fields, body())
        if answer.status == 405:
            raise Denied(f"{answer.why}; the server takes no PUT there")
        if not 200 <= answer.status < 300:
            return self._refused(item, answer)
        if sent < size:
            return Outcome(item, "refused", why="the server has answered before it had the whole file")
        found = digest.hexdigest()
        if (told := _told(answer)) not in (None, found):
            why = f"the server has stored something else: sha256={told}"
            return Outcome(item, "refused", why=why)
        match = _OK.fullmatch(answer.text)
        return Outcome(item, "stored", match[1] if match else item.name, size, f"sha256={found}")

    def _send_by_tus(self, item: Item, source: Source, features: frozenset[str]) -> Outcome:
        """Send a file in pieces, and go on with what the server has of it."""
        item.id = item.id or self._run.memory.recall(item)
        offset = self._offset(item) if item.id else None
        if offset is None:
            answer = self._create(item, source)
            if answer.status != 201 or "location" not in answer.fields:
                return self._refused(item, answer)
            item.id = self._path(answer.fields["location"])
            self._run.memory.remember(item)
            offset = 0
        digest = source.rewind(offset, "sha256")
        checksum = next((name for name in ("sha256", "sha1") if f"checksum {name}" in features), None)
        self._run.note(item, offset)
        pieces = _Pieces(source)
        while (piece := pieces.next()) is not None:
            digest.update(piece)
            if pieces.last:
                source.check()
            began = time.monotonic()
            answer = self._append(item, offset, piece, checksum, last=pieces.last and source.size is None)
            if answer.status == 409 or answer.status == 460 or answer.status in _GONE:
                raise Lost(answer.why)  # another look at the offset tells what to do
            if answer.status not in (200, 204):
                return self._refused(item, answer)
            offset += len(piece)
            if answer.fields.get("upload-offset") != str(offset):
                raise Lost("the server has less than was sent")
            self._run.note(item, offset)
            pieces.took(time.monotonic() - began)
        return Outcome(item, "stored", item.name, offset, f"sha256={digest.hexdigest()}")

    def _append(self, item: Item, offset: int, piece: bytes, checksum: str | None, *, last: bool) -> Response:
        """Send the next piece of an upload; the last one tells the size that was not known before."""
        fields = {
            **_TUS,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(len(piece)),
        }
        if last:
            fields["Upload-Length"] = str(offset + len(piece))
        if checksum:
            value = b64encode(hashlib.new(checksum, piece, usedforsecurity=False).digest()).decode()
            fields["Upload-Checksum"] = f"{checksum} {value}"
        return self._web.ask("PATCH", item.id, fields, [piece])

    def _offset(self, item: Item) -> int | None:
        """Ask how much of an upload the server has; None if there is no such upload."""
        answer = self._web.ask("HEAD", item.id, _TUS)
        value = answer.fields.get("upload-offset", "")
        length = answer.fields.get("upload-length", "")
        if answer.status in _LATER:
            self._wait(answer)
        if answer.status in (200, 204) and _OFFSET.fullmatch(value) and length in ("", str(item.size)):
            return int(value)
        self._run.forget(item)
        return None

    def _create(self, item: Item, source: Source) -> Response:
        name = b64encode(item.name.encode()).decode()
        fields = {**_TUS, "Upload-Metadata": f"filename {name}", "Content-Length": "0"}
        fields |= {"Upload-Defer-Length": "1"} if source.size is None else {"Upload-Length": str(source.size)}
        return self._web.ask("POST", self._web.address.location, fields)

    def _path(self, location: str) -> str:
        """Return the path of an upload's address, which must be on this server."""
        address = self._web.address
        try:
            parts = urlsplit(urljoin(str(address), location))
        except ValueError:
            parts = urlsplit("")
        if parts.hostname != urlsplit(str(address)).hostname:
            raise Denied(f"the server sends the upload elsewhere: {location[:200]}")
        return quote(parts.path, KEPT) + (f"?{quote(parts.query, KEPT + '?')}" if parts.query else "")

    def _refused(self, item: Item, answer: Response) -> Outcome:
        """Return the outcome of a refusal; raise Lost if it may not hold later."""
        if answer.status in _LATER or (answer.status == 507 and item.durable):
            self._wait(answer)
        if answer.status == 401:
            raise Denied(answer.why)
        return Outcome(item, "refused", why=answer.why)

    def _wait(self, answer: Response) -> None:
        time.sleep(min(answer.retry_after, _MOST_WAIT))
        raise Lost(answer.why)


class _Pieces:
    """Data in pieces, which are the larger the faster they go.

    Args:
        source: of the data.

    Attributes:
        last: whether no piece follows the one that was returned.
    """

    def __init__(self, source: Source) -> None:
        self.last = False
        self._source = source
        self._size = _FIRST_PIECE
        self._read: bytes | memoryview = b""

    def next(self) -> bytes | None:
        """Return the next piece; None behind the last one. A file without data has an empty one."""
        if self.last:
            return None
        piece = bytearray(self._read)
        while (data := self._source.read()) and len(piece) + len(data) <= self._size:
            piece += data
        self._read, self.last = bytes(data), not data
        return bytes(piece)

    def took(self, seconds: float) -> None:
        """Note how long the last piece took."""
        if seconds < _QUICK:
            self._size = min(2 * self._size, _MOST_PIECE)
        elif seconds > _SLOW:
            self._size = max(self._size // 2, _FIRST_PIECE)


def _told(answer: Response) -> str | None:
    """Return the SHA-256 of what the server has stored, if it tells."""
    if match := _DIGEST.search(answer.fields.get("repr-digest", "")):
        try:
            return b64decode(match[1], validate=True).hex()
        except ValueError:
            return None
    match = _OK.fullmatch(answer.text)
    return match[3] if match and match[2] == "sha256" else None
