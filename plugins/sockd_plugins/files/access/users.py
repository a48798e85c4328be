"""Users of a file receiver: a file with a line for each password or key.

    ann:$scrypt$ln=14,r=8,p=1$SALT$HASH       a password, as `sockd files password` prints it
    ann:ssh-ed25519 AAAAC3Nz… ann@laptop      a key, as in a `.pub` file of OpenSSH
    # a comment

A user may have several lines. SALT and HASH are base64 without padding (the string format of the password
hashing competition). Passwords cannot be read from the file, but guessed with it: only the daemon's user
should read it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sockd.errors import ValueFault
from sockd.text import printable
from sockd_plugins.files.storage.names import safe_name

_LOG_N, _R, _P = 14, 8, 1
"""Cost of a new password: 16 MiB and some 50 ms (RFC 7914, 2, for interactive logins)."""

_MEMORY = 256 << 20  # bytes that a password of the file may cost at most
_HASH = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{8,88})\$([A-Za-z0-9+/]{22,88})"
)
_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+={0,2})(?:\s.*)?")
_LONGEST = 1 << 10  # characters of a password to try


@dataclass(frozen=True, slots=True)
class Password:
    """Hash of a password, with its cost: scrypt of RFC 7914."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        """Tell whether a password is the one; needs a thread, some memory and some time."""
        if len(password) > _LONGEST:
            return False
        found = _scrypt(password, self.salt, self.log_n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(found, self.digest)

    def __str__(self) -> str:
        cost = f"ln={self.log_n},r={self.r},p={self.p}"
        return f"$scrypt${cost}${_encoded(self.salt)}${_encoded(self.digest)}"


_NO_PASSWORD = Password(_LOG_N, _R, _P, b"\0" * 16, b"\0" * 32)
"""Password that no text fits. To find it wrong takes as long as the others, so that nobody learns which users
there are."""


@dataclass(frozen=True, slots=True)
class User:
    """User with all passwords and keys; a key is the public one in SSH's binary form."""

    name: str
    passwords: tuple[Password, ...] = ()
    keys: frozenset[bytes] = frozenset()


class Users(Mapping[str, User]):
    """Users of one file, by name."""

    def __init__(self, users: Mapping[str, User] | None = None) -> None:
        self._users = dict(users or {})
        costs = [(each.log_n, each.r, each.p) for user in self._users.values() for each in user.passwords]
        self._no_password = Password(*max(costs), b"\0" * 16, b"\0" * 32) if costs else _NO_PASSWORD

    def __getitem__(self, name: str) -> User:
        return self._users[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._users)

    def __len__(self) -> int:
        return len(self._users)

    @classmethod
    def read(cls, content: bytes) -> Users:
        """Read the content of a file.

        Raises:
            ValueFault: a line is malformed; the text has its number, and nothing that is secret.
        """
        users: dict[str, User] = {}
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise ValueFault("users in UTF-8, one a line", "other bytes") from None
        for number, line in enumerate(lines, 1):
            if not (line := line.strip()) or line.startswith("#"):
                continue
            name, _, secret = line.partition(":")
            try:
                name = user_name(name.strip())
                users[name] = _with_secret(users.get(name, User(name)), secret.strip())
            except ValueFault as fault:
                raise ValueFault(fault.expected, f"{fault.found} in line {number}") from None
        return cls(users)

    def has_password(self, name: str, password: str) -> bool:
        """Tell whether a user has a password; takes as long for a user that does not exist."""
        user = self._users.get(name)
        passwords = (user.passwords if user else ()) or (self._no_password,)
        return True in [each.fits(password) for each in passwords]  # each, for the time that it takes

    def has_key(self, name: str, key: bytes) -> bool:
        """Tell whether a user has a public key, in SSH's binary form."""
        user = self._users.get(name)
        return user is not None and key in user.keys


def user_name(name: str) -> str:
    """Return the name of a user, which is also that of a folder.

    Raises:
        ValueFault: it is none.
    """
    try:
        name = safe_name(name)
    except ValueError:
        raise ValueFault("the name of a user, without a path", printable(repr(name))) from None
    if any(char.isspace() for char in name):
        raise ValueFault("the name of a user, without spaces", printable(repr(name)))
    return name


def hash_password(password: str) -> Password:
    """Return the hash of a new password, with a salt of its own."""
    salt = secrets.token_bytes(16)
    return Password(_LOG_N, _R, _P, salt, _scrypt(password, salt, _LOG_N, _R, _P, 32))


def _with_secret(user: User, secret: str) -> User:
    if match := _HASH.fullmatch(secret):
        log_n, r, p = (int(match[group]) for group in (1, 2, 3))
        if not (log_n >= 1 and r and p and (128 << log_n) * r * p <= _MEMORY):
            raise ValueFault(f"scrypt of at most {_MEMORY} bytes", f"ln={log_n},r={r},p={p}")
        password = Password(log_n, r, p, _decoded(match[4]), _decoded(match[5]))
        return User(user.name, (*user.passwords, password), user.keys)
    if match := _KEY.fullmatch(secret):
        return User(user.name, user.passwords, user.keys | {_key(match[1], match[2])})
    raise ValueFault("NAME:$scrypt$… or NAME:ssh-ed25519 AAAA…", "something else")


def _key(kind: str, text: str) -> bytes:
    """Return a public key, whose binary form begins with its kind (RFC 4253, 6.6)."""
    blob = _decoded(text.rstrip("="))
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueFault("a public key as in a .pub file", f"{kind} before other bytes")
    return blob


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    needed = 128 * r * ((1 << log_n) + p + 2)
    return hashlib.scrypt(secret, salt=salt, n=1 << log_n, r=r, p=p, dklen=length, maxmem=2 * needed)


def _encoded(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueFault("base64", "something else") from None
