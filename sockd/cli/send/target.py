"""Web server as a target of files."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import click
from typing_extensions import override

from sockd.cli.address import Address, AddressType
from sockd.errors import ValueFault

KEPT = "/:@!$&'()*+,;=~-._%"
"""Characters of a path that stay as they are."""


@dataclass(frozen=True, slots=True)
class WebAddress(Address):
    """Address of a web server, with the path that files are sent to.

    Attributes:
        location: the path.
        user: name and password, with a colon between; "" for none. They are in no message and no file.
    """

    location: str = "/"
    user: str = field(default="", repr=False)

    def __str__(self) -> str:
        scheme = "https" if self.encrypted else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.location}"

    @property
    def authority(self) -> str:
        """Host and port, as the header field Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.encrypted else 80) else f"{host}:{self.port}"

    def authorization(self, token: str) -> str:
        """Return the header field Authorization, from the user, else from a token; "" for neither."""
        if self.user:
            return f"Basic {b64encode(self.user.encode()).decode()}"  # RFC 7617
        return f"Bearer {token}" if token else ""

    def path_of(self, name: str, *, alone: bool) -> str:
        """Return the path of a file on the server.

        Args:
            name: of the file.
            alone: whether it is the only one, so that a location without a slash at the end is its own.
        """
        if alone and not self.location.endswith("/"):
            return self.location
        return f"{self.location.rstrip('/')}/{quote(name)}"


def parse_web(text: str) -> WebAddress | None:
    """Parse an address with `http:` or `https:`; return None for another.

    It may have a user, as in https://USER@HOST/. Without a password, that is $SOCKD_PASSWORD.

    Raises:
        ValueFault: it is malformed.
    """
    if not text.lower().startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueFault("an address such as https://HOST/FOLDER/", repr(text)) from error
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueFault("an address such as https://HOST/FOLDER/", repr(text))
    secure = parts.scheme == "https"
    location = quote(parts.path or "/", safe=KEPT)
    port = port or (443 if secure else 80)
    return WebAddress("tcp", parts.hostname, port, "", secure, None, location, _user(parts))


def _user(parts: SplitResult) -> str:
    if not parts.username:
        return ""
    password = os.environ.get("SOCKD_PASSWORD", "") if parts.password is None else unquote(parts.password)
    return f"{unquote(parts.username)}:{password}"


class TargetType(AddressType):
    """Type of what files are sent to: the address of a service, or of a web server."""

    name = "target"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            web = parse_web(value) if isinstance(value, str) else None
        except ValueFault as fault:
            self.fail(str(fault), param, ctx)
        return web or super().convert(value, param, ctx)
