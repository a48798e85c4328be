"""Checks of the options of the file receiver, which the plugin's fields name."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

from sockd.errors import ValueFault
from sockd.text import printable
from sockd_plugins.files.access.shares import UserQuota
from sockd_plugins.files.access.users import read_users, user_name
from sockd_plugins.files.storage.names import pattern_of, safe_name, timed_name
from sockd_plugins.files.storage.owner import FORM, Owner

_SHOWN_OVER: Mapping[str, str] = {"raw": "certificates", "tftp": "tokens"}
"""Way to come in over a protocol that has only one."""


def file_mode(mode: object) -> object:
    """Check permissions, in octal as chmod(1) takes them; a plain number could be meant in decimal."""
    if mode is None:
        return None
    if not isinstance(mode, str) or not re.fullmatch("0?[0-7]{3}", mode, re.ASCII):
        raise ValueFault("three octal digits as text, such as '640'", repr(mode))
    if not int(mode, 8) & stat.S_IRUSR:
        raise ValueFault("permissions with which the owner can read the file, such as '640'", repr(mode))
    return mode


def file_owner(owner: str) -> str:
    """Check an owner; whether there is such a user is a matter of the machine."""
    if owner and not FORM.fullmatch(owner):
        raise ValueFault("an owner such as 'ann:staff', 'ann' or ':staff'", repr(owner))
    return owner


def obstacle_to_owner(owner: str) -> str | None:
    """Return why this process may not give files to an owner; None if it may."""
    try:
        return Owner.find(owner).obstacle()
    except ValueError as error:
        return str(error)


def file_names(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Check patterns of names."""
    for pattern in patterns:
        if not pattern or "/" in pattern:
            raise ValueFault("a pattern of a name, such as '*.pdf'", repr(pattern))
    return patterns


def folder_name(name: str) -> str:
    """Check the name of a folder within the directory."""
    try:
        return safe_name(name) if name else ""
    except ValueError as error:
        raise ValueFault("a plain name, or '' for none", repr(name)) from error


def listed_means(means: object) -> object:
    """Make one word a list of one."""
    return (means,) if isinstance(means, str) else means


def unusable(protocol: str, means: Collection[str], names: tuple[str, ...] = ()) -> str | None:
    """Return why nobody can send over a protocol, as it cannot show what is asked for; None if some can.

    Args:
        protocol: of a listener.
        means: ways to come in.
        names: patterns of the names that files may have.
    """
    if protocol == "raw" and names and not pattern_of(names).fullmatch(name := timed_name()):
        return f"nobody could send: over 'raw' files get names such as {name}, which 'names' does not accept"
    shown = _SHOWN_OVER.get(protocol)
    if shown is None or {shown, "anyone"} & set(means):
        return None
    return f"nobody could send: over '{protocol}' access needs '{shown}' or 'anyone'"


def program_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Check the arguments of a program."""
    for argument in arguments:
        if "\0" in argument:
            raise ValueFault("arguments without null bytes", repr(argument))
    return arguments


def quotas_of_users(quotas: dict[str, UserQuota]) -> dict[str, UserQuota]:
    """Check the names of users with a quota."""
    for name in quotas:
        user_name(name)
    return quotas


def quotas_of_nobody(
    usual: Mapping[str, int], quotas: Mapping[str, UserQuota], users: bytes, means: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield the option and a fault for each quota of users that can never come in.

    Args:
        usual: bounds for each user, by option; 0 for none.
        quotas: those of single users, from the option `user_quotas`.
        users: content of the file of users.
        means: ways to come in.
    """
    if not {"users", "certificates"} & set(means):
        for option, bound in {**usual, "user_quotas": len(quotas)}.items():
            if bound:
                yield option, "nobody comes in as a user: add 'users' or 'certificates' to 'access'"
    elif "certificates" not in means:
        known = read_users(users)
        for name in quotas:
            if name not in known:
                yield "user_quotas", f"there is no user {printable(repr(name))} in the file of 'users'"


def unasked_users(users: bytes, means: Collection[str]) -> str | None:
    """Return why the file of users opens nothing; None if it does, or has no users."""
    if users.strip() and "users" not in means:
        return "nobody is asked for a password or a key: add 'users' to 'access'"
    return None


def users_file(content: bytes) -> bytes:
    """Check the lines of a file of users."""
    read_users(content)
    return content


def web_address(url: str) -> str:
    """Check the address of a web server."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueFault("an address such as 'https://drop.example.org'", repr(url))
    return url


def webhook_address(url: str) -> str:
    """Check the address that notices are posted to."""
    if url and not re.match("https?://[^/]", url):
        raise ValueFault("a URL such as 'https://example.org/received'", repr(url))
    return url
