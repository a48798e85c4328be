"""Host key of the SSH server: made once, and kept in the state folder of the service."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, FingerprintFormats, Key

from sockd.reading import Unreadable, read_bytes

NAME = "ssh_host_ed25519_key"

_MOST = 64 << 10  # bytes of a key


def load_host_key(path: Path) -> Key:
    """Load a private key in a format of OpenSSH.

    Raises:
        Unreadable: it cannot be read.
        ValueError: it is none, or needs a passphrase; the text tells which.
    """
    try:
        key: Key = Key.fromString(read_bytes(path, _MOST))
    except EncryptedKeyError:
        raise ValueError("expected a key without a passphrase") from None
    except (BadKeyError, ValueError, KeyError, IndexError):  # whatever is not a key
        raise ValueError("expected a private key, as ssh-keygen makes it") from None
    if key.isPublic():
        raise ValueError("expected a private key, found a public one")
    return key


def faults(path: Path) -> Iterator[str]:
    """Yield why a private key cannot be used; nothing if it can."""
    try:
        load_host_key(path)
    except (Unreadable, ValueError) as error:
        yield str(error)


def made_host_key(folder: Path) -> Key:
    """Return the key of a state folder; make it durably if there is none, whatever other processes do.

    Raises:
        OSError: it cannot be made.
        Unreadable: it cannot be read.
        ValueError: the file is no key.
    """
    path = folder / NAME
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    return load_host_key(path)


def fingerprint(key: Key) -> str:
    """Return the fingerprint of a key as clients show it."""
    digest: str = key.fingerprint(FingerprintFormats.SHA256_BASE64)
    return "SHA256:" + digest.rstrip("=")


def _make(path: Path) -> None:
    """Make a key under a name of its own, and give it the right one if no other process was faster."""
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
