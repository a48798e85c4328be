"""Register of the people in a chat, and who may take which name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sockd_plugins.chat.hub import names
from sockd_plugins.chat.hub.cloak import Cloaks
from sockd_plugins.chat.hub.names import Names, fold
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused

Keeper = Callable[[str], str]
"""Returns the account that a name belongs to, or one that looks like it; "" if there is none."""

Watcher = Callable[[str, bool], None]
"""Takes a name, and whether it is in use from now on."""


def no_keeper(_: str) -> str:
    """Return "", as there are no accounts."""
    return ""


class Register:
    """People by name.

    Args:
        longest: characters of a name.
        keeper: tells which names belong to accounts.
    """

    def __init__(self, longest: int, keeper: Keeper) -> None:
        self._longest = longest
        self._keeper = keeper
        self._people: Names[Person] = Names()
        self.cloaks = Cloaks()
        self._watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._people)

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people)

    def find(self, name: str) -> Person | None:
        """Return the person with a name, in any spelling."""
        return self._people.find(name)

    def add(self, person: Person) -> None:
        """Add a person whose name is checked."""
        self._people.give(person.name, person)
        self._tell(person.name, True)

    def remove(self, person: Person) -> None:
        """Remove a person; its name is free."""
        self._people.take(person.name)
        self._tell(person.name, False)

    def rename(self, person: Person, name: str) -> None:
        """Give a person another name, which is checked."""
        old, person.name = person.name, name
        self._people.take(old)
        self._people.give(name, person)
        if fold(old) != fold(name):
            self._tell(old, False)
            self._tell(name, True)

    def clear(self) -> tuple[Person, ...]:
        """Remove everybody; return who that was."""
        people = tuple(self._people)
        self._people.clear()
        return people

    def watch(self, watcher: Watcher) -> None:
        """Have each name told that comes into use, and each that is free again."""
        self._watchers.append(watcher)

    def check_form(self, name: str) -> None:
        """Check that a person or room can have a name; raise `ChatRefused` (`bad_name`) if not."""
        if fault := names.fault_of(name, self._longest):
            raise ChatRefused("bad_name", fault)

    def check(self, name: str, own: str, account: str) -> None:
        """Check whether a person may take a name.

        Args:
            name: the new name.
            own: the present one; empty for none.
            account: account of the person; empty for none.

        Raises:
            ChatRefused: it may not: `bad_name`, `taken`, `confusable` or `login`.
        """
        self.check_form(name)
        if names.is_of_service(name):
            raise ChatRefused("bad_name", f"{name} is the name of a service, of which there is none here")
        if rival := self._people.rival(name, own):
            if fold(rival) == fold(name):
                raise ChatRefused("taken", f"the name {name} is taken")
            raise ChatRefused("confusable", f"the name {name} looks like {rival}, which is taken")
        if (keeper := self._keeper(name)) and keeper != fold(account):
            raise ChatRefused("login", f"the name {name} belongs to the account {keeper}: log in first")

    def _tell(self, name: str, used: bool) -> None:
        for watcher in self._watchers:
            watcher(name, used)
