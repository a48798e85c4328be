"""Values of header fields: items of RFC 9651, Upload-Metadata of tus, names in Content-Disposition."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from sockd_plugins.files.storage.refused import FileRefused

Getter = Callable[[str], str | None]
"""Returns the value of a header field; None if it is absent."""

_INTEGER = re.compile(r"[ \t]*(\d{1,15})[ \t]*", re.ASCII)  # 15 digits: RFC 9651, section 3.3.1
_BOOLEAN = re.compile(r"[ \t]*\?([01])[ \t]*(;.*)?", re.ASCII)  # parameters are ignored
_PAIR = re.compile(r"([!-+\--~]+)(?: +([A-Za-z0-9+/=]*))? *", re.ASCII)
_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_NAME = re.compile(r"filename\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s\"]+))", re.IGNORECASE)


def integer(value: str | None) -> int | None:
    """Return a number that is not negative; None for anything else."""
    match = _INTEGER.fullmatch(value or "")
    return int(match[1]) if match else None


def boolean(value: str | None) -> bool | None:
    """Return a boolean; None for anything else."""
    match = _BOOLEAN.fullmatch(value or "")
    return match[1] == "1" if match else None


def metadata(value: str | None) -> Mapping[str, str]:
    """Return the pairs of a field Upload-Metadata (tus 1.0, creation).

    Raises:
        FileRefused: it is malformed.
    """
    pairs: dict[str, str] = {}
    for text in filter(None, (part.strip(" \t") for part in (value or "").split(","))):
        match = _PAIR.fullmatch(text)
        if match is None or match[1] in pairs:
            problem = f"expected pairs 'key base64' in Upload-Metadata, found {text!r}"
            raise FileRefused("bad-request", problem)
        key, coded = match.groups()
        try:
            pairs[key] = b64decode(coded or "", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            problem = f"expected UTF-8 in base64 in Upload-Metadata, found {coded!r} for {key!r}"
            raise FileRefused("bad-request", problem) from None
    return pairs


def disposition_name(value: str | None) -> str | None:
    """Return the name of the file in a field Content-Disposition (RFC 6266); None if there is none."""
    if extended := _EXTENDED_NAME.search(value or ""):
        return unquote(extended[1])
    if match := _NAME.search(value or ""):
        return match[2] or re.sub(r"\\(.)", r"\1", match[1] or "") or None
    return None
