"""Lines of a connection before its person is in the chat: choices, a login, and the name."""

from __future__ import annotations

from collections.abc import Callable

from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Outlet, Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.commands import HELP, Show, choose, proved
from sockd_plugins.chat.terminal.forms import Mode
from sockd_plugins.chat.terminal.handover import choose_key, take_over
from sockd_plugins.chat.terminal.queue import Work

NAME_TRIES = 5


class Entrance:
    """Entrance of one person.

    Args:
        hub: the chat.
        accounts: those of the chat; None if there are none.
        outlet: gets what happens, once the person is in the chat.
        mode: form of the lines that it is shown.
        host: its address.
        show: shows it lines.
        entered: called with the person once it is in the chat.
        close: closes the connection, after last lines.
    """

    def __init__(
        self,
        hub: Hub,
        accounts: Accounts | None,
        outlet: Outlet,
        mode: Mode,
        host: str,
        show: Show,
        entered: Callable[[Person], None],
        close: Callable[..., None],
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._outlet = outlet
        self._mode = mode
        self._host = host
        self._show = show
        self._entered = entered
        self._close = close
        self._room, self._key, self._account = "", "", ""
        self._tries_left = NAME_TRIES
        self._is_closed = False

    def close(self) -> None:
        """Let nobody in any more, as the connection is gone."""
        self._is_closed = True

    def execute(self, line: str) -> Work | None:
        """Take a line; return what is left to be awaited."""
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        try:
            match command.lower():
                case "/numbers" | "/echo":
                    self._show(choose(self._mode, None, command.lower(), argument))
                case "/key":
                    self._show(choose_key(self._mode, argument))
                case "/join":
                    self._room, _, self._key = argument.partition(" ")
                case "/login":
                    return self._log_in(argument)
                case "/help":
                    self._show(HELP)
                case "/quit":
                    self._close()
                case _:
                    self._enter(line.removeprefix("/nick ").strip())
        except ChatRefused as refused:
            self._refuse(refused)
        return None

    async def _log_in(self, argument: str) -> None:
        try:
            self._account = await proved(self._accounts, argument, self._host)
            self._enter(argument.split()[0])
        except ChatRefused as refused:
            self._refuse(refused)

    def _enter(self, name: str) -> None:
        """Bring the person into the chat, and into its room."""
        if not name or self._is_closed:
            return
        take_over(self._hub, name, self._mode)
        room = "" if self._room else self._hub.first_room
        person = self._hub.enter(
            name, self._outlet, room=room, account=self._account, host=self._host, echoes=self._mode.echo
        )
        try:
            if self._room:
                self._hub.join(person, self._room, self._key.strip())
        except ChatRefused:
            self._hub.leave(person, "")
            raise
        self._entered(person)

    def _refuse(self, refused: ChatRefused) -> None:
        """Ask for the name again, but not for ever."""
        if self._is_closed:
            return
        self._tries_left -= 1
        if self._tries_left:
            self._show(self._mode.refusal(refused), "* your name?")
        else:
            self._close(self._mode.refusal(refused), "* that was the last try")
