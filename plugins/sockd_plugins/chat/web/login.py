"""Logins over HTTP, where the chat has accounts."""

from __future__ import annotations

import binascii
from base64 import b64decode

from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.request import Problem, Request
from sockd_plugins.users.tries import NotTried

_MOST = 1024  # bytes of a name with a password


async def log_in(accounts: Accounts | None, name: str, password: str, host: str) -> str:
    """Return the account of a name whose password is right.

    Args:
        accounts: of the chat; None if it has none.
        name: of the account.
        password: any text.
        host: address of the client.

    Raises:
        ChatRefused: the password is wrong, or is not tried.
    """
    if accounts is None:
        raise ChatRefused("denied", "this chat has no accounts")
    try:
        is_right = await accounts.check(name, password, host)
    except NotTried as not_tried:
        raise ChatRefused("denied", str(not_tried)) from not_tried
    if not is_right:
        raise ChatRefused("denied", "the name or the password is wrong")
    return fold(name)


async def account_of(accounts: Accounts | None, request: Request) -> str:
    """Return the account that a request proves (Basic, RFC 7617); "" if it shows none.

    Raises:
        ChatRefused: the password is wrong, or is not tried.
        Problem: the field is malformed.
    """
    field = request.headers.get("authorization")
    if field is None:
        return ""
    scheme, _, value = field.strip().partition(" ")
    try:
        if scheme.lower() != "basic" or len(value) > _MOST:
            raise ValueError
        name, colon, password = b64decode(value.strip(), validate=True).decode().partition(":")
        if not colon:
            raise ValueError
    except (binascii.Error, ValueError):
        raise Problem(400, "bad_request", "expected a name and a password (Basic)") from None
    return await log_in(accounts, name, password, request.host)
