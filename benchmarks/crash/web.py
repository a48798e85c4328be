"""Senders over HTTP: PUT, and the protocol tus, which goes on after a break."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urljoin, urlsplit

from benchmarks.crash.daemon import HOST
from benchmarks.crash.sending import PATIENCE, Sending

_SIZE = (20 << 20) + 4321

_TUS = {"Tus-Resumable": "1.0.0"}

LARGE = 7 << 20
"""Bytes of a request of tus that is made durable before its answer."""

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


class Tus:
    """Sender over tus 1.0.

    Args:
        size: bytes of a file.
        request: bytes of a request; each answer tells an offset.
    """

    protocol = "http"
    resumes = True
    names = True

    def __init__(self, size: int = _SIZE, request: int = LARGE) -> None:
        self.size = size
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
        headers = {
            "Upload-Length": str(len(sending.data)),
            "Upload-Metadata": f"filename {base64.b64encode(sending.name.encode()).decode()}",
        }
        answer = _ask(port, "POST", "/", b"", _TUS | headers)
        if answer.status == 201:
            sending.id = urlsplit(urljoin("/", answer.headers["Location"])).path
            sending.found = 0
        else:
            sending.refused = answer.text

    def _look(self, port: int, sending: Sending) -> None:
        answer = _ask(port, "HEAD", sending.id, b"", _TUS)
        if answer.status in _GONE:
            sending.vanished = True
        elif answer.status != 200:
            sending.refused = answer.text
        else:
            self._note(answer, sending)

    def _append(self, port: int, sending: Sending, leave_at: int | None) -> None:
        start = sending.found
        most = start + self._request if leave_at is None else min(start + self._request, leave_at)
        headers = {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        sending.found = -1
        answer = _ask(port, "PATCH", sending.id, sending.data[start:most], _TUS | headers)
        if answer.status != 204:
            sending.refused = answer.text
        else:
            self._note(answer, sending)

    @staticmethod
    def _note(answer: Told, sending: Sending) -> None:
        """Note an offset. The whole length means to every client that the file is stored."""
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
