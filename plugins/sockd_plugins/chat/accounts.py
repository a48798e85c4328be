"""Accounts of a chat: whose names only those bear who know the password.

The file has a line for each account, as `sockd password NAME` prints it. It may change while the chat runs:
`FRESH_SECONDS` later at the latest the change holds, for whoever enters, renames or logs in from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sockd.errors import ValueFault
from sockd.reading import Unreadable, read_bytes
from sockd.text import describe_os_error, printable
from sockd_plugins.chat.hub.names import fold, is_name, shape
from sockd_plugins.users.tries import Run, Tries
from sockd_plugins.users.users import Users

FRESH_SECONDS = 2.0
"""Age of what is known of the file, after which it is looked at again."""

LONGEST = 32
"""Characters in the name of an account, as many as a chat may allow for any name."""

_MOST = 4 << 20
"""Bytes of the file: some 40,000 accounts."""


class Accounts:
    """Accounts of one file.

    Args:
        file: with a line for each.
        run: runs blocking work in a thread.
        clock: tells the time.
        log: is told of a file that cannot be read.
    """

    def __init__(self, file: Path, run: Run, clock: IReactorTime, log: Logger) -> None:
        self._file = file
        self._run = run
        self._clock = clock
        self._log = log
        self._users = Users()
        self._kept: Mapping[str, str] = {}  # names of accounts, by their shape
        self._read_as: object = None  # what told one state of the file from others when it was read
        self._looked_at = 0.0
        self._reading = DeferredLock()
        self._tries = Tries(self._has_password, run, clock.seconds)

    async def load(self) -> None:
        """Read the file for the first time.

        Raises:
            Unreadable: it cannot be read, or a line is malformed.
        """
        self._looked_at = self._clock.seconds()
        self._take(await self._run(self._read_if_changed, None))

    def keeper(self, name: str) -> str:
        """Return the account that a name, or one that looks like it, belongs to; "" if there is none."""
        if not self._is_fresh() and not self._reading.locked:
            Deferred.fromCoroutine(self._refresh())
        return fold(name) if fold(name) in self._users else self._kept.get(shape(name), "")

    async def check(self, name: str, password: str, source: str = "-") -> bool:
        """Tell whether an account has a password; takes as long for one that does not exist.

        Args:
            name: of the account, in any spelling.
            password: any text.
            source: address of the peer, or what else has its own share of the tries.

        Raises:
            NotTried: too many wrong ones came before; the text tells, in one line, how long to wait.
        """
        await self._refresh()
        return await self._tries.is_right(source, fold(name), password)

    def _has_password(self, name: str, password: str) -> bool:
        return self._users.has_password(name, password)

    def _is_fresh(self) -> bool:
        return self._clock.seconds() - self._looked_at < FRESH_SECONDS

    async def _refresh(self) -> None:
        """Read the file if it has changed; with a fault in it, the accounts stay as they were."""
        async with self._reading:
            if self._is_fresh():
                return
            try:
                self._take(await self._run(self._read_if_changed, self._read_as))
            except Unreadable as fault:
                if str(fault) != self._read_as:  # once for each fault
                    self._log.error("accounts not read", file=str(self._file), reason=str(fault))
                self._read_as = str(fault)
            self._looked_at = self._clock.seconds()

    def _read_if_changed(self, known: object) -> tuple[object, Users] | None:
        try:
            there = self._file.stat()
        except OSError as error:
            raise Unreadable(describe_os_error(error)) from error
        state = there.st_mtime_ns, there.st_size, there.st_ino
        return None if state == known else (state, read_accounts(self._file))

    def _take(self, found: tuple[object, Users] | None) -> None:
        if found is not None:
            self._read_as, self._users = found
            self._kept = {shape(name): name for name in self._users}
            self._tries.forget()


def read_accounts(file: Path) -> Users:
    """Read a file of accounts.

    Raises:
        Unreadable: it cannot be read, or a line is malformed; the text has its number, and nothing secret.
    """
    try:
        return Users.read(read_bytes(file, _MOST), _account_name)
    except ValueFault as fault:
        raise Unreadable(str(fault)) from fault


def _account_name(name: str) -> str:
    if not is_name(name, LONGEST):
        raise ValueFault(f"a name of at most {LONGEST} characters A-Z a-z 0-9 _ . -", printable(repr(name)))
    return fold(name)
