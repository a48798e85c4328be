"""Users of a service: a file with a line for each password or key.

    ann:$scrypt$ln=14,r=8,p=1$SALT$HASH       a password, as `sockd password` prints it
    ann:ssh-ed25519 AAAAC3Nz… ann@laptop      a key, as in a `.pub` file of OpenSSH
    # a comment

A user may have several lines. SALT and HASH are base64 without padding. Passwords cannot be read from the
file, but guessed with it: only the daemon's user should read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sockd.errors import ValueFault
from sockd_plugins.users.passwords import Password, from_base64

_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+={0,2})(?:\s.*)?")


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
        self._no_password = Password(*max(costs)) if costs else Password()
        """Password that no text fits, as expensive as the others, so that the time tells nothing."""

    def __getitem__(self, name: str) -> User:
        return self._users[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._users)

    def __len__(self) -> int:
        return len(self._users)

    @classmethod
    def read(cls, content: bytes, name_of: Callable[[str], str]) -> Users:
        """Read the content of a file.

        Args:
            content: of the file.
            name_of: returns the name that is meant by what is written, or raises `ValueFault`.

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
                name = name_of(name.strip())
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


def _with_secret(user: User, secret: str) -> User:
    if password := Password.read(secret):
        return User(user.name, (*user.passwords, password), user.keys)
    if match := _KEY.fullmatch(secret):
        return User(user.name, user.passwords, user.keys | {_key(match[1], match[2])})
    raise ValueFault("NAME:$scrypt$… or NAME:ssh-ed25519 AAAA…", "something else")


def _key(kind: str, text: str) -> bytes:
    """Return a public key, whose binary form begins with its kind (RFC 4253, 6.6)."""
    blob = from_base64(text.rstrip("="))
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueFault("a public key as in a .pub file", f"{kind} before other bytes")
    return blob
