"""Key with which a service signs: Ed25519 (RFC 8032), made once, in the service's state folder."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sockd.reading import Unreadable, read_bytes
from sockd_plugins.own_files import give_to_owner, make_folder

FILE = "receipt.key"

_MOST = 4096  # bytes of the file


def open_key(folder: Path) -> Ed25519PrivateKey:
    """Return the key of a service, which is made if there is none; several processes get the same one.

    Args:
        folder: the service's state folder.

    Raises:
        OSError: it can be neither read nor made.
    """
    path = folder / FILE
    if not path.exists():
        make_folder(folder)
        _make(path)
    try:
        key = load_pem_private_key(read_bytes(path, _MOST), None)
    except Unreadable as error:
        raise OSError(f"{path}: {error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OSError(f"{path}: expected an Ed25519 key in PEM, found something else") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OSError(f"{path}: expected an Ed25519 key in PEM, found another kind")
    return key


def public_pem(key: Ed25519PrivateKey) -> str:
    """Return the public key in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _make(path: Path) -> None:
    """Make a key that only the owner can read, whole and durable, unless another process was faster."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, pem)
        os.fsync(file)
        give_to_owner(new)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.close(file)
        os.unlink(new)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
