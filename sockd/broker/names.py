"""Names as tokens of a NATS subject, which may have no blank, dot, `*` or `>`: `a b` is `a=20b`."""

from __future__ import annotations

import re

_ODD = re.compile(rb"[^A-Za-z0-9_-]")
_CODE = re.compile(rb"=([0-9A-F]{2})")


def token(name: str) -> str:
    """Return the token of a name; different names have different ones."""
    return _ODD.sub(lambda odd: b"=%02X" % odd[0][0], name.encode("utf-8", "surrogatepass")).decode()


def name_of(token: str) -> str:
    """Return the name of a token.

    Raises:
        ValueError: it is the token of no name.
    """
    return _CODE.sub(lambda code: bytes([int(code[1], 16)]), token.encode()).decode("utf-8", "surrogatepass")
