"""Connection of a run to a web server: files by PUT, or by tus where the server speaks it.

https://tus.io/protocols/resumable-upload describes tus 1.0.
"""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

from sockd.cli.send.channel import Interrupted, Lost
from sockd.cli.send.items import Item
from sockd.cli.send.memory import Memory
from sockd.cli.send.service import Denied
from sockd.cli.send.source import Source, Unreadable, open_source
from sockd.cli.send.web import Response, Web
from sockd.cli.send.work import Outcome, Work

_PIECE = 8 << 20
"""Bytes of a request of tus: after each the server tells what it has, and a checksum covers it."""

_LATER = {408, 423, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed."""

_GONE = {403, 404, 410}  # there is no such upload any more

_MOST_WAIT = 60.0  # seconds that a server may ask to wait

_OK = re.compile(r"ok (.+) \d+ (sha256|blake3)=([0-9a-f]+)\s*", re.DOTALL)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")

_TUS = {"Tus-Resumable": "1.0.0"}


class WebLane:
    """Connection to a web server, until nothing waits any more.

    Args:
        web: the connection.
        work: the files that wait.
        memory: the addresses of unfinished uploads.
        moved: called with an item and the bytes of it that are durable.
        alone: whether there is one file only.
    """

    def __init__(
        self, web: Web, work: Work, memory: Memory, moved: Callable[[Item, int], object], *, alone: bool
    ) -> None:
        self._web = web
        self._work = work
        self._memory = memory
        self._moved = moved
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
        try:
            features = self._features()
            opened()
            while item := self._work.take_large() or self._work.take_small():
                if self._work.interrupted:
                    self._work.put_back([item])
                    raise Interrupted
                self._send(item, features)
        finally:
            self._web.close()

    def _features(self) -> frozenset[str] | None:
        """Return the extensions of tus that the server has; None if it does not speak tus."""
        answer = self._web.ask("OPTIONS", self._web.address.location)
        if answer.status == 401:
            raise Denied(answer.why)
        if "1.0.0" not in answer.fields.get("tus-version", ""):
            return None
        found = {word.strip() for word in answer.fields.get("tus-extension", "").split(",")}
        algorithms = answer.fields.get("tus-checksum-algorithm", "")
        found |= {f"checksum {word.strip()}" for word in algorithms.split(",")}
        return frozenset(found) if "creation" in found else None

    def _send(self, item: Item, features: frozenset[str] | None) -> None:
        """Send a file, and note its outcome; it waits again after a break."""
        unsized = features is None or "creation-defer-length" not in features
        try:
            if item.source is None:
                item.source = open_source(item.path, spooled=unsized)
                item.size = item.source.size
            send = self._put if features is None else self._send_by_tus
            outcome = send(item, item.source, features or frozenset())
        except Unreadable as error:
            if item.id and features and "termination" in features:
                self._web.ask("DELETE", item.id, _TUS)
            outcome = Outcome(item, "unreadable", why=str(error))
        except BaseException:  # whatever it was, the file waits again
            self._work.put_back([item])
            raise
        if item.source is not None:
            item.source.close()
            item.source = None
        self._memory.forget(item)
        self._work.finish(outcome)

    def _put(self, item: Item, source: Source, _: frozenset[str]) -> Outcome:
        """Send a file with one request."""
        digest = source.rewind(0, "sha256")

        def body() -> Iterator[bytes | memoryview]:
            while data := source.read():
                digest.update(data)
                yield data
            source.check()

        path = self._web.address.path_of(item.name, alone=self._alone)
        fields = {"Content-Length": str(source.size), "Content-Type": "application/octet-stream"}
        answer = self._web.ask("PUT", path, fields, body())
        if answer.status == 405:
            raise Denied(f"{answer.why}; the server takes no PUT there")
        if not 200 <= answer.status < 300:
            return self._refused(item, answer)
        source.check()
        found = digest.hexdigest()
        if (told := _told(answer)) not in (None, found):
            why = f"the server has stored something else: sha256={told}"
            return Outcome(item, "refused", why=why)
        match = _OK.fullmatch(answer.text)
        return self._stored(item, match[1] if match else item.name, source.size or 0, found)

    def _send_by_tus(self, item: Item, source: Source, features: frozenset[str]) -> Outcome:
        """Send a file in pieces, and go on with what the server has of it."""
        offset = self._offset(item) if item.id or self._recalled(item) else None
        if offset is None:
            answer = self._create(item, source)
            if answer.status != 201 or "location" not in answer.fields:
                return self._refused(item, answer)
            item.id = self._path(answer.fields["location"])
            self._memory.remember(item)
            offset = 0
        digest = source.rewind(offset, "sha256")
        checksum = next((name for name in ("sha256", "sha1") if f"checksum {name}" in features), None)
        self._note(item, source, offset)
        for piece, last in _pieces(source):
            digest.update(piece)
            fields = {
                **_TUS,
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(len(piece)),
            }
            if source.size is None and last:
                fields["Upload-Length"] = str(offset + len(piece))
            if checksum:
                value = b64encode(hashlib.new(checksum, piece, usedforsecurity=False).digest()).decode()
                fields["Upload-Checksum"] = f"{checksum} {value}"
            if last:
                source.check()
            answer = self._web.ask("PATCH", item.id, fields, [piece])
            if answer.status == 409 or answer.status == 460 or answer.status in _GONE:
                raise Lost(answer.why)  # another look at the offset tells what to do
            if answer.status not in (200, 204):
                return self._refused(item, answer)
            offset += len(piece)
            if answer.fields.get("upload-offset", str(offset)) != str(offset):
                raise Lost("the server has less than was sent")
            self._note(item, source, offset)
        return self._stored(item, item.name, offset, digest.hexdigest())

    def _recalled(self, item: Item) -> str:
        item.id = self._memory.recall(item)
        return item.id

    def _offset(self, item: Item) -> int | None:
        """Ask how much of an upload the server has; None if there is no such upload."""
        answer = self._web.ask("HEAD", item.id, _TUS)
        value = answer.fields.get("upload-offset", "")
        length = answer.fields.get("upload-length", "")
        if answer.status in (200, 204) and value.isdecimal():
            if not length or length == str(item.size):
                return int(value)
        elif answer.status in _LATER:
            self._wait(answer)
        self._memory.forget(item)
        item.id, item.durable = "", 0
        return None

    def _create(self, item: Item, source: Source) -> Response:
        name = b64encode(item.name.encode()).decode()
        fields = {**_TUS, "Upload-Metadata": f"filename {name}", "Content-Length": "0"}
        fields |= {"Upload-Defer-Length": "1"} if source.size is None else {"Upload-Length": str(source.size)}
        return self._web.ask("POST", self._web.address.location, fields)

    def _path(self, location: str) -> str:
        """Return the path of an upload's address, which must be on this server."""
        address = self._web.address
        parts = urlsplit(urljoin(str(address), location))
        if parts.hostname != urlsplit(str(address)).hostname:
            raise Denied(f"the server sends the upload elsewhere: {location[:200]}")
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _note(self, item: Item, source: Source, durable: int) -> None:
        if durable > item.durable:
            self._work.move()
        item.durable = durable
        source.forget(durable)
        self._moved(item, durable)

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

    def _stored(self, item: Item, name: str, size: int, digest: str) -> Outcome:
        self._moved(item, size)
        return Outcome(item, "stored", name, size, f"sha256={digest}")


def _pieces(source: Source) -> Iterator[tuple[bytes, bool]]:
    """Yield the data in pieces, each with whether it is the last one."""
    piece = bytearray()
    sent = False
    while data := source.read():
        if len(piece) >= _PIECE:
            yield bytes(piece), False
            sent = True
            piece.clear()
        piece += data
    if piece or not sent:
        yield bytes(piece), True


def _told(answer: Response) -> str | None:
    """Return the SHA-256 of what the server has stored, if it tells."""
    if match := _DIGEST.search(answer.fields.get("repr-digest", "")):
        try:
            return b64decode(match[1], validate=True).hex()
        except ValueError:
            return None
    match = _OK.fullmatch(answer.text)
    return match[3] if match and match[2] == "sha256" else None
