"""Hashes of passwords: scrypt (RFC 7914), in the string format of the password hashing competition."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass

from sockd.errors import ValueFault

_LOG_N, _R, _P = 14, 8, 1
"""Cost of a new password: 16 MiB and some 50 ms (RFC 7914, 2, for interactive logins)."""

_MEMORY = 256 << 20  # bytes that a password of a file may cost at most
_HASH = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{8,88})\$([A-Za-z0-9+/]{22,88})"
)
_LONGEST = 1 << 10  # characters of a password to try


@dataclass(frozen=True, slots=True)
class Password:
    """Hash of a password, with its cost."""

    log_n: int = _LOG_N
    r: int = _R
    p: int = _P
    salt: bytes = bytes(16)
    digest: bytes = bytes(32)

    @classmethod
    def read(cls, text: str) -> Password | None:
        """Read `$scrypt$ln=14,r=8,p=1$SALT$HASH`; return None if a text has another form.

        Raises:
            ValueFault: it would cost too much, or is no base64.
        """
        match = _HASH.fullmatch(text)
        if match is None:
            return None
        log_n, r, p = (int(match[group]) for group in (1, 2, 3))
        if not (log_n >= 1 and r and p and (128 << log_n) * r * p <= _MEMORY):
            raise ValueFault(f"scrypt of at most {_MEMORY} bytes", f"ln={log_n},r={r},p={p}")
        return cls(log_n, r, p, from_base64(match[4]), from_base64(match[5]))

    def fits(self, password: str) -> bool:
        """Tell whether a password is the one; needs a thread, some memory and some time."""
        if len(password) > _LONGEST:
            return False
        found = _scrypt(password, self.salt, self.log_n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(found, self.digest)

    def __str__(self) -> str:
        cost = f"ln={self.log_n},r={self.r},p={self.p}"
        return f"$scrypt${cost}${_to_base64(self.salt)}${_to_base64(self.digest)}"


def hash_password(password: str) -> Password:
    """Return the hash of a new password, with a salt of its own."""
    salt = secrets.token_bytes(16)
    return Password(_LOG_N, _R, _P, salt, _scrypt(password, salt, _LOG_N, _R, _P, 32))


def from_base64(text: str) -> bytes:
    """Return the bytes of base64 without padding; raise `ValueFault` if it is none."""
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueFault("base64", "something else") from None


def _to_base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    needed = 128 * r * ((1 << log_n) + p + 2)
    return hashlib.scrypt(secret, salt=salt, n=1 << log_n, r=r, p=p, dklen=length, maxmem=2 * needed)
