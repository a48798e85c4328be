"""Client of tus in memory."""

from __future__ import annotations

import os
from base64 import b64encode

from sockd_plugins.files.storage.store import PARTS
from tests.plugins.files.http.client import Client, Reply, Service

CHUNK = "application/offset+octet-stream"


def coded(**pairs: str) -> str:
    return ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())


class Tus:
    """Client of tus with one connection after another."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = service.connect()

    def asks(self, method: str, target: str, body: bytes | None = None, /, **headers: str) -> Reply:
        fields = {"tus_resumable": "1.0.0"} | headers
        (reply,) = self.client.asks(method, target, body, **fields).reads(method)
        if reply.headers.get("connection") == "close":
            self.client = self.service.connect()
        return reply

    def creates(
        self, size: int | None, body: bytes | None = None, target: str = "/", /, **headers: str
    ) -> Reply:
        length = {"upload_defer_length": "1"} if size is None else {"upload_length": str(size)}
        kind = {} if body is None else {"content_type": CHUNK}
        return self.asks("POST", target, body or b"", **length | kind | headers)

    def upload(self, size: int | None, name: str = "a.bin", **headers: str) -> str:
        """Return the path of a new upload."""
        reply = self.creates(size, upload_metadata=coded(filename=name), **headers)
        assert reply.status == 201, reply.text
        return "/" + reply.headers["location"]

    def dies(self, method: str, path: str, data: bytes, /, **headers: str) -> None:
        """Send the beginning of a request with 1,000 bytes of content, and break the connection."""
        self.begins(method, path, data, **headers).is_cut_off()
        self.client = self.service.connect()

    def begins(self, method: str, path: str, data: bytes, /, **headers: str) -> Client:
        """Send the beginning of a request with 1,000 bytes of content."""
        fields = {"tus_resumable": "1.0.0", "content_type": CHUNK, "content_length": "1000"} | headers
        client = self.client.asks(method, path, None, **fields).sends(data)
        self.service.clock.advance(1.5)  # after which what has come is written
        return client

    def patches(self, path: str, offset: int, data: bytes, /, **headers: str) -> Reply:
        return self.asks("PATCH", path, data, content_type=CHUNK, upload_offset=str(offset), **headers)

    def heads(self, path: str) -> Reply:
        return self.asks("HEAD", path)

    def offset(self, path: str) -> int:
        return int(self.heads(path).headers["upload-offset"])


def received(service: Service) -> dict[str, bytes]:
    paths = [path for path in service.folder.rglob("*") if path.is_file() and PARTS not in path.parts]
    return {str(path.relative_to(service.folder)): path.read_bytes() for path in paths}


def parts(service: Service) -> list[str]:
    return [name for name in os.listdir(service.folder / PARTS) if name.count("-") == 2]
