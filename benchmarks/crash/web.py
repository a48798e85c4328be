"""Senders over HTTP: PUT, and the protocol tus, which goes on after a break."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import unquote

from benchmarks.crash.daemon import HOST
from benchmarks.crash.sending import PATIENCE, Sending

_SIZE = (20 << 20) + 4321

_TUS = {"Tus-Resumable": "1.0.0"}

_PATCH = 7 << 20
"""Bytes of a request of tus: each answer tells an offset."""

_GONE = {404, 410}


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
                sending.refused = f"{answer.status} {answer.reason}"


class Tus:
    """Sender over tus 1.0."""

    protocol = "http"
    resumes = True
    names = True
    size = _SIZE

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
            sending.id = answer.headers["Location"]
            sending.found = 0
        else:
            sending.refused = f"{answer.status} {answer.reason}"

    def _look(self, port: int, sending: Sending) -> None:
        answer = _ask(port, "HEAD", _path(sending.id), b"", _TUS)
        if answer.status in _GONE:
            sending.vanished = True
        elif answer.status != 200:
            sending.refused = f"{answer.status} {answer.reason}"
        else:
            self._note(answer, sending)

    def _append(self, port: int, sending: Sending, leave_at: int | None) -> None:
        start = sending.found
        most = start + _PATCH if leave_at is None else min(start + _PATCH, leave_at)
        headers = {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        sending.found = -1
        answer = _ask(port, "PATCH", _path(sending.id), sending.data[start:most], _TUS | headers)
        if answer.status != 204:
            sending.refused = f"{answer.status} {answer.reason}"
        else:
            self._note(answer, sending)

    @staticmethod
    def _note(answer: HTTPResponse, sending: Sending) -> None:
        """Note an offset. The whole length means to every client that the file is stored."""
        sending.found = int(answer.headers["Upload-Offset"])
        sending.told = max(sending.told, sending.found)
        if sending.found == len(sending.data):
            sending.stored = sending.name


def _path(address: str) -> str:
    return "/" + address.split("/", 3)[3] if "://" in address else address


def _ask(port: int, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> HTTPResponse:
    """Send a request on a connection of its own, and read the whole answer."""
    connection = HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()
