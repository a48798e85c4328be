"""Notice of a file that was received, for a recipient that is told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """Notice of a file.

    Attributes:
        id: of the upload; the same file may be told twice, but always with the same id.
        path: of the file, relative to the directory.
        size: in bytes.
        digest: as "sha256=HEX" or "blake3=HEX".
        host: address of the sender.
        sender: the token or user, such as "token:ID"; "" for none.
        time: at which the file was whole, in seconds since 1970.
    """

    id: str
    path: str
    size: int
    digest: str
    host: str
    sender: str
    time: float

    def as_json(self, service: str) -> bytes:
        """Return the notice as one line of JSON."""
        algorithm, _, digest = self.digest.partition("=")
        told = {
            "event": "received",
            "service": service,
            "id": self.id,
            "name": self.path,
            "size": self.size,
            algorithm: digest,
            "host": self.host,
            "sender": self.sender,
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
        }
        return json.dumps(told, ensure_ascii=False).encode() + b"\n"


class NotDelivered(Exception):
    """Failure to deliver a notice; it is tried again. The text tells why."""
