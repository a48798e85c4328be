"""Receipts: for each stored file a JSON object that the service has signed.

    {"receipt":1, "id":ID, "name":NAME, "size":BYTES, "digests":{"sha256":HEX}, "time":"2026-11-28T07:15:00Z",
     "service":NAME, "sender":KEY, "key":BASE64, "signature":BASE64}

`key` is the public key, and `signature` the Ed25519 signature of the object without it, in the canonical form
of RFC 8785: keys sorted, no spaces, UTF-8. `sockd verify` checks it, and so does openssl:

    jq -cSj 'del(.signature)' RECEIPT > signed
    jq -r .signature RECEIPT | base64 -d > signature
    openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in signed -sigfile signature
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sockd_plugins.files.receipt.key import open_key
from sockd_plugins.files.storage.refused import disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

SUFFIX = ".receipt.json"
"""End of the name of a receipt that is written beside the files."""

Receipt = Mapping[str, Any]


class Receipts:
    """Receipts of one service, whose key is made when it is needed first.

    Args:
        service: its name.
        folder: its state folder.
        now: returns the date, in seconds.
    """

    def __init__(self, service: str, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._service = service
        self._folder = folder
        self._key: Ed25519PrivateKey | None = None
        self._now = now

    def issue(self, stored: Stored, sender: Sender, at: float | None = None) -> Receipt:
        """Return the signed receipt of a stored file; the first time this waits for the disk.

        Args:
            stored: the file.
            sender: who has sent it.
            at: Unix time at which it was stored; None for now.

        Raises:
            FileRefused: the key can be neither read nor made.
        """
        if self._key is None:
            with disk_errors():
                self._key = open_key(self._folder)
        key = self._key
        told = {
            "receipt": 1,
            "id": stored.id,
            "name": stored.name,
            "size": stored.size,
            "digests": _digests(stored),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now() if at is None else at)),
            "service": self._service,
            "sender": sender.key or sender.host,
            "key": b64encode(key.public_key().public_bytes_raw()).decode(),
        }
        return {**told, "signature": b64encode(key.sign(canonical(told))).decode()}


def as_line(receipt: Receipt) -> str:
    """Return a receipt as one line of JSON, without its end."""
    return json.dumps(receipt, ensure_ascii=False)


def canonical(told: Mapping[str, Any]) -> bytes:
    """Return the bytes of an object that are signed: those of RFC 8785."""
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digests(stored: Stored) -> dict[str, str]:
    algorithm, _, digest = stored.digest.partition("=")
    digests = {algorithm: digest} if digest else {}
    return {**digests, "sha256": stored.sha256} if stored.sha256 else digests
