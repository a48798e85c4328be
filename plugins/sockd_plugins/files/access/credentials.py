"""Credentials in what peers send: a header field, or a path.

The text of a token has a form of its own, so that no other word is taken for one.
"""

from __future__ import annotations

import binascii
import re
import secrets
from base64 import b64decode
from dataclasses import dataclass

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Characters of a token: letters and digits that are not mistaken for each other, 5 bits each."""

_LENGTH = 24
"""Characters of a token, 120 bits: no number of guesses finds one."""

_TOKEN = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")
_IN_PATH = re.compile(f"/*t/({_TOKEN.pattern})(?:/+(.*))?", re.DOTALL)
_MOST = 1024  # bytes of a user with a password


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a peer, to be given to `Access.sender`; None for each that was not shown."""

    token: str | None = None
    user: str | None = None
    password: str | None = None


def make_token() -> str:
    """Return the text of a new token."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def split_token(path: str) -> tuple[str | None, str]:
    """Split the token off a path.

    Args:
        path: as the peer asks for it, decoded: `/t/TOKEN/folder/name`, or any other.

    Returns:
        The token and the rest without the slashes in front, `folder/name`; None and the path if it has none.
    """
    match = _IN_PATH.fullmatch(path)
    return (None, path) if match is None else (match[1], match[2] or "")


def from_authorization(field: str | None) -> Credentials:
    """Read the field Authorization of HTTP: `Bearer TOKEN` (RFC 6750), or `Basic …` (RFC 7617).

    Raises:
        ValueError: its value is malformed, or its scheme another one; the text has no part of it.
    """
    if field is None:
        return Credentials()
    scheme, _, value = field.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return Credentials(token=value)
    if scheme.lower() != "basic" or len(value) > _MOST:
        raise ValueError("expected a bearer's token, or a user with a password (Basic)")
    try:
        user, colon, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("expected a user with a password in base64 of UTF-8") from None
    if not colon:
        raise ValueError("expected a user and a password with a colon between them")
    return Credentials(user=user, password=password)
