"""Senders over HTTP: PUT, and those that go on after a break, by tus or by the draft of the IETF."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urljoin, urlsplit

from benchmarks.crash.daemon import HOST
from benchmarks.crash.sending import PATIENCE, Sending

_SIZE = (20 << 20) + 4321

LARGE = 7 << 20
"""Bytes of a request that carries a third of a file."""

SMALL = 64 << 10
"""Bytes of the requests of careful clients."""

_GONE = {404, 410}


@dataclass(frozen=True, slots=True)
class Told:
    """Answer to a request; the text has its status too."""

    status: int
    headers: Message
    text: str


class Put:
    """Sender of whole files over HTTP."""

    protocol = "http"
    resumes = False
    names = True
    size = _SIZE

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:  # noqa: ARG002  # cannot
        """Implement `Client.send`."""
        sending.refused = ""
        with suppress(ConnectionError, HTTPException):
            answer = _ask(port, "PUT", f"/{sending.name}", sending.data, {})
            if answer.status == 201:
                sending.stored = unquote(answer.headers["Location"].rpartition("/")[2])
            else:
                sending.refused = answer.text


@dataclass(frozen=True, slots=True)
class Manner:
    """Manner in which a client resumes over HTTP.

    Attributes:
        kind: media type of an append.
        create: returns the path and the fields of the POST that creates an upload.
        common: fields of each request.
        complete: field of an append that says whether the file ends with it; "" for none.
    """

    kind: str
    create: Callable[[Sending], tuple[str, Mapping[str, str]]]
    common: Mapping[str, str]
    complete: str = ""


def _tus_creation(sending: Sending) -> tuple[str, Mapping[str, str]]:
    name = base64.b64encode(sending.name.encode()).decode()
    return "/", {"Upload-Length": str(len(sending.data)), "Upload-Metadata": f"filename {name}"}


def _draft_creation(sending: Sending) -> tuple[str, Mapping[str, str]]:
    return f"/{sending.name}", {"Upload-Length": str(len(sending.data)), "Upload-Complete": "?0"}


TUS = Manner("application/offset+octet-stream", _tus_creation, {"Tus-Resumable": "1.0.0"})
DRAFT = Manner("application/partial-upload", _draft_creation, {}, "Upload-Complete")


class Resumable:
    """Sender over HTTP that goes on after a break.

    Args:
        manner: of its requests.
        size: bytes of a file.
        request: bytes of a request; each answer tells an offset.
    """

    protocol = "http"
    resumes = True
    names = True

    def __init__(self, manner: Manner, size: int = _SIZE, request: int = LARGE) -> None:
        self.size = size
        self._manner = manner
        self._request = request

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:
        """Implement `Client.send`."""
        sending.refused, sending.found = "", -1
        with suppress(ConnectionError, HTTPException):
            if sending.id:
                self._look(port, sending)
            else:
                self._create(port, sending)
            while sending.found >= 0 and not sending.stored:
                self._append(port, sending, leave_at)
                if leave_at is not None and sending.told >= leave_at:
                    return

    def _create(self, port: int, sending: Sending) -> None:
        path, fields = self._manner.create(sending)
        answer = _ask(port, "POST", path, b"", {**self._manner.common, **fields})
        if answer.status == 201:
            sending.id = urlsplit(urljoin("/", answer.headers["Location"])).path
            sending.found = 0
        else:
            sending.refused = answer.text

    def _look(self, port: int, sending: Sending) -> None:
        answer = _ask(port, "HEAD", sending.id, b"", self._manner.common)
        if answer.status in _GONE:
            sending.vanished = True
        else:
            self._note(answer, sending)

    def _append(self, port: int, sending: Sending, leave_at: int | None) -> None:
        start, size = sending.found, len(sending.data)
        end = min(start + self._request, size if leave_at is None else leave_at)
        fields = {**self._manner.common, "Upload-Offset": str(start), "Content-Type": self._manner.kind}
        if self._manner.complete:
            fields[self._manner.complete] = "?1" if end == size else "?0"
        sending.found = -1
        answer = _ask(port, "PATCH", sending.id, sending.data[start:end], fields)
        self._note(answer, sending)

    @staticmethod
    def _note(answer: Told, sending: Sending) -> None:
        """Note an offset. The whole length means to every client that the file is stored."""
        if answer.status >= 300:
            sending.refused = answer.text
            return
        sending.found = int(answer.headers["Upload-Offset"])
        sending.told = max(sending.told, sending.found)
        if sending.found == len(sending.data):
            sending.stored = sending.name


def _ask(port: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Told:
    """Send a request on a connection of its own, and read the whole answer."""
    connection = HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace").strip()
        return Told(answer.status, answer.headers, f"{answer.status} {text}")
    finally:
        connection.close()
