"""Tries of passwords: one at a time in a thread, and not as many as a guesser would like.

A wrong password costs as much work as a right one, and so does one of a user that does not exist. Passwords
that were right are remembered, as a hash with a secret of the process, and cost nothing again: whoever has
logged in since the start is not held up by others who guess.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from twisted.internet.defer import Deferred, DeferredLock

Run = Callable[..., Deferred[Any]]

_REMEMBERED = 1000  # right passwords, and sources and users with wrong ones

_OF_SOURCE = 10
"""Wrong passwords of a source that are looked at; each costs 50 ms of a processor."""

_OF_USER = 100
"""Wrong passwords of a user, from all sources. Whoever sends as many keeps the user from logging in for the
first time since the start. So it is more than anyone mistypes, and still too few to find a good password."""

_PAUSE_SECONDS = 60.0  # after which as many may be tried again

_MOST_WAITING = 50
"""Passwords that wait for their turn: some seconds for the last one."""


class NotTried(Exception):
    """Refusal to try a password.

    Attributes:
        code: `denied` after wrong ones, `too-many` if others are tried.
    """

    def __init__(self, code: Literal["denied", "too-many"], text: str) -> None:
        super().__init__(text)
        self.code: Literal["denied", "too-many"] = code


class Tries:
    """Tries of the passwords of one service.

    Args:
        has_password: tells whether a user has a password; blocks for the time of a hash.
        run: runs blocking work in a thread.
        seconds: a monotonic clock.
    """

    def __init__(
        self, has_password: Callable[[str, str], bool], run: Run, seconds: Callable[[], float]
    ) -> None:
        self._has_password = has_password
        self._run = run
        self._trying = DeferredLock()  # one thread at most tries passwords, so that others have the processor
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong_of_source = _Wrong(_OF_SOURCE, seconds)
        self._wrong_of_user = _Wrong(_OF_USER, seconds)

    async def is_right(self, source: str, user: str, password: str) -> bool:
        """Tell whether a user has a password.

        Args:
            source: what has one share of the tries, such as an address.
            user: any text.
            password: any text.

        Raises:
            NotTried: it was not found out.
        """
        shown = f"{len(user)} {user}{password}".encode("utf-8", "surrogatepass")
        mark = hmac.digest(self._secret, shown, "sha256")
        if mark in self._right:
            return True
        self._check_tries(source, user)
        if len(self._trying.waiting) >= _MOST_WAITING:
            raise NotTried("too-many", "too many passwords wait to be tried; wait a moment")
        async with self._trying:
            return await self._try(source, user, password, mark)

    def forget(self) -> None:
        """Forget the passwords that were right, because users have changed."""
        self._right.clear()

    async def _try(self, source: str, user: str, password: str, mark: bytes) -> bool:
        """Find out whether a password is right, unless that was found out during the wait for the turn."""
        if mark in self._right:
            return True
        self._check_tries(source, user)
        if not await self._run(self._has_password, user, password):
            self._wrong_of_source.add(source)
            self._wrong_of_user.add(user)
            return False
        self._right[mark] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
        return True

    def _check_tries(self, source: str, user: str) -> None:
        """Refuse those who guess, without the work of one more try."""
        if tries := self._wrong_of_source.excess(source):
            raise NotTried("denied", f"{tries} wrong passwords came from there; wait a minute")
        if tries := self._wrong_of_user.excess(user):
            raise NotTried("denied", f"{tries} wrong passwords of that user came; wait a minute")


class _Wrong:
    """Wrong passwords, counted by a key, for `_PAUSE_SECONDS` from the first one.

    Args:
        most: of a key.
        seconds: a monotonic clock.
    """

    def __init__(self, most: int, seconds: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._counted: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def add(self, key: str) -> None:
        """Count one."""
        now = self._seconds()
        tries, since = self._counted.pop(key, (0, now))
        self._counted[key] = (1, now) if now - since >= _PAUSE_SECONDS else (tries + 1, since)
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)

    def excess(self, key: str) -> int:
        """Return the number of wrong ones if there are too many; 0 if there are not."""
        tries, since = self._counted.get(key, (0, 0.0))
        return tries if tries >= self._most and self._seconds() - since < _PAUSE_SECONDS else 0
