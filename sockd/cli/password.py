"""`sockd password`: a line for a file of users."""

from __future__ import annotations

import hashlib
import secrets
import sys
from base64 import b64encode

import click

from sockd.text import printable

_LOG_N, _R, _P = 14, 8, 1
"""Cost of a password's hash: 16 MiB and some 50 ms (RFC 7914, 2, for interactive logins)."""


@click.command()
@click.argument("name")
def password(name: str) -> None:
    """Ask for a password of user NAME, and print its line for a file of users.

    \b
        sockd password ann >> users.txt

    The option `users` of `files` and the option `accounts` of `chat` name such a file. In a pipe the password
    is the first line of standard input.
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    if not name or not name.isprintable() or any(char in ":/\\ " for char in name) or name[0] in ".-#":
        raise click.UsageError(
            f"expected a name without spaces, slashes and colons, found {printable(repr(name))}"
        )
    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise click.ClickException("expected a password, found none")
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(text.encode(), salt=salt, n=1 << _LOG_N, r=_R, p=_P, dklen=32, maxmem=1 << 26)
    click.echo(f"{name}:$scrypt$ln={_LOG_N},r={_R},p={_P}${_base64(salt)}${_base64(digest)}")


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")
