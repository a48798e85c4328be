"""Checks of the options of the file receiver, which the plugin's fields name."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from sockd.errors import ValueFault
from sockd_plugins.files.access.users import Users
from sockd_plugins.files.storage.names import safe_name

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


def folder_name(name: str) -> str:
    """Check the name of a folder within the directory."""
    try:
        return safe_name(name) if name else ""
    except ValueError as error:
        raise ValueFault("a plain name, or '' for none", repr(name)) from error


def listed_means(means: object) -> object:
    """Make one word a list of one."""
    return (means,) if isinstance(means, str) else means


def unusable(protocol: str, means: Collection[str]) -> str | None:
    """Return why nobody can send over a protocol, as it cannot show what is asked for; None if some can."""
    shown = _SHOWN_OVER.get(protocol)
    if shown is None or {shown, "anyone"} & set(means):
        return None
    return f"nobody could send: over '{protocol}' access needs '{shown}' or 'anyone'"


def users_file(content: bytes) -> bytes:
    """Check the lines of a file of users."""
    Users.read(content)
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
