"""Senders of one large file, as cheap as they can be, so that the server is what is measured."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from ftplib import FTP, all_errors
from functools import cache
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from blake3 import blake3

from benchmarks.processes import HOST, MeasureError

PATIENCE = 300.0
"""Seconds for one file."""

KEY = "client-key"
"""File in the server's folder with the private key of the SSH client."""

Send = Callable[[int, Path, Path], None]
"""Send a file to a port; the second path is the server's folder. Returns when the server has confirmed it."""


def raw(port: int, file: Path, folder: Path) -> None:
    """Send a connection that is the file, and wait until the other side has ended too."""
    del folder
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        _send(connection, file)
        connection.shutdown(socket.SHUT_WR)
        answer = _rest(connection)
    if answer.startswith("error"):
        raise MeasureError(answer)


def upload(digest: str = "-") -> Send:
    """Return a sender over sockd's protocol `upload`.

    Args:
        digest: `blake3` to name that digest of the file; "-" for none, so that the server computes SHA-256.
    """

    def send(port: int, file: Path, folder: Path) -> None:
        del folder
        named = f"blake3={_blake3(file)}" if digest == "blake3" else digest
        with socket.create_connection((HOST, port), PATIENCE) as connection:
            connection.sendall(f"put {file.stat().st_size} {named} {file.name}\n".encode())
            _send(connection, file)
            connection.shutdown(socket.SHUT_WR)
            answer = _rest(connection)
        if "ok " not in answer:
            raise MeasureError(f"not stored: {answer}")

    return send


def put(port: int, file: Path, folder: Path) -> None:
    """Send by PUT of HTTP."""
    del folder
    _request(port, "PUT", f"/{file.name}", {}, file)


def tus(path: str) -> Send:
    """Return a sender with one PATCH of tus.

    Args:
        path: where uploads are created.
    """

    def send(port: int, file: Path, folder: Path) -> None:
        del folder
        common = {"Tus-Resumable": "1.0.0"}
        size = {"Upload-Length": str(file.stat().st_size), "Upload-Metadata": "filename Zi5iaW4="}
        made = _request(port, "POST", path, common | size)
        place = urlsplit(urljoin(path, made.headers["Location"])).path
        data = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        _request(port, "PATCH", place, common | data, file)

    return send


def ftp(port: int, file: Path, folder: Path) -> None:
    """Send by STOR of FTP."""
    del folder
    try:
        with FTP(timeout=PATIENCE) as connection:  # noqa: S321  # the others are measured without encryption too
            connection.connect(HOST, port)
            connection.login()
            connection.voidcmd("TYPE I")
            with connection.transfercmd(f"STOR {file.name}") as data:
                _send(data, file)
            connection.voidresp()
    except all_errors as error:
        raise MeasureError(f"FTP: {error}") from None


def sftp(cipher: str = "") -> Send:
    """Return a sender by OpenSSH's sftp, with a key if the server has made one.

    Args:
        cipher: the only one to offer; "" for the client's own list.
    """

    def send(port: int, file: Path, folder: Path) -> None:
        options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
        if (folder / KEY).exists():
            options += ["-i", str(folder / KEY)]
        if cipher:
            options += ["-c", cipher]
        command = ["sftp", "-q", "-b-", *options, "-P", str(port), HOST]
        done = subprocess.run(  # noqa: S603  # our own
            command, input=f"put {file}\n", capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise MeasureError(f"sftp ended with {done.returncode}: {done.stderr.strip()[-200:]}")

    return send


def _request(
    port: int, method: str, path: str, headers: Mapping[str, str], file: Path | None = None
) -> HTTPResponse:
    """Send a request whose body is a file; return the answer, if it is one of success."""
    connection = HTTPConnection(HOST, port, timeout=PATIENCE)
    connection.putrequest(method, path)
    size = 0 if file is None else file.stat().st_size
    for name, value in {**headers, "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    if file is not None:
        _send(connection.sock, file)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status // 100 != 2:
        raise MeasureError(f"HTTP: {answer.status} {answer.reason}")
    return answer


def _send(connection: socket.socket, file: Path) -> None:
    """Send a file by sendfile(2)."""
    with file.open("rb") as data:
        connection.settimeout(None)
        sent = 0
        while count := os.sendfile(connection.fileno(), data.fileno(), sent, 1 << 24):
            sent += count
    connection.settimeout(PATIENCE)


@cache
def _blake3(file: Path) -> str:
    return blake3(file.read_bytes()).hexdigest()


def _rest(connection: socket.socket) -> str:
    """Read until the other side ends."""
    read = bytearray()
    while more := connection.recv(65536):
        read += more
    return read.decode(errors="replace").strip()
