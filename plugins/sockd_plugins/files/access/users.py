"""Users of a file receiver, whose names are also those of folders."""

from __future__ import annotations

from sockd.errors import ValueFault
from sockd.text import printable
from sockd_plugins.files.storage.names import safe_name
from sockd_plugins.users.users import Users


def read_users(content: bytes) -> Users:
    """Read a file of users; raise `ValueFault` if a line is malformed."""
    return Users.read(content, user_name)


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
