"""Text from peers, made safe to show: on a terminal, in a log, to another person."""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0, DEL, C1, line and paragraph separator, bidirectional controls; and surrogates, which no file takes."""


def printable(text: str) -> str:
    r"""The text in one line, with what could move a cursor or reorder words written out: `\x1b`, `\u202e`.

    It is for reading and cannot be turned back: a backslash stays as it is.
    """
    return _UNSAFE.sub(_written_out, text)


def decoded(data: bytes) -> str:
    r"""Bytes as printable text: UTF-8, and each byte that is none written out: `\xff`."""
    return printable(data.decode("utf-8", "backslashreplace"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
