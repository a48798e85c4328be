"""Line that a person types: its history, kept in a file, and the completion of names, rooms and commands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from typing_extensions import override

from sockd.cli.chat.session import Session

MOST_LINES = 1000
"""Lines kept in the file."""

LONGEST_LINE = 4096

COMMANDS = {
    "/join": ("ROOM", "go to another room"),
    "/rooms": ("", "list the rooms"),
    "/who": ("", "list the people in the room"),
    "/whois": ("NAME", "read about somebody"),
    "/msg": ("NAME TEXT", "tell one person"),
    "/me": ("TEXT", "say what you do"),
    "/topic": ("[TEXT]", "read or set the topic of the room; - removes it"),
    "/away": ("[TEXT]", "say that you are away, or back"),
    "/nick": ("NAME", "change your name"),
    "/login": ("NAME PASSWORD", "take a name that has an account"),
    "/since": ("NUMBER", "read what was said behind a number"),
    "/search": ("WORDS", "find what was said in the room"),
    "/invite": ("NAME", "let somebody into the room; for operators, as those below"),
    "/remove": ("NAME", "remove somebody from the room"),
    "/redact": ("NUMBER", "remove the text of a message"),
    "/mode": ("[+o NAME]", "read or change the modes of the room"),
    "/numbers": ("", "show the numbers of messages, or hide them"),
    "/clear": ("", "empty the screen"),
    "/help": ("", "list all this"),
    "/quit": ("", "leave the chat"),
}
"""Commands that are completed, with their arguments and what they are for."""

_WITH_NAME = ("/msg", "/remove", "/invite", "/whois")
_WITH_ROOM = ("/join",)
_SECRET = ("/login",)


def explained() -> Iterator[str]:
    """Yield a line about each command, and about the keys."""
    for name, (words, purpose) in COMMANDS.items():
        yield f"{f'{name} {words}':22}{purpose}"
    yield "Tab completes, PageUp scrolls, Up brings earlier lines back, Alt-Enter begins a further line"


class Completing(Completer):
    """Completion of commands at the beginning of the line, else of names, or of rooms.

    Args:
        session: knows the names and the rooms.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        command, _, argument = before.partition(" ")
        word = before.rpartition(" ")[2]
        if before.startswith("/") and command == before:
            for name, (words, purpose) in COMMANDS.items():
                if name.startswith(before.lower()):
                    yield Completion(
                        f"{name} ", -len(before), display=f"{name} {words}", display_meta=purpose
                    )
        elif command.lower() in _WITH_ROOM and " " not in argument:
            yield from self._of(self._session.around.rooms, word, " ")
        elif command.lower() in _WITH_NAME and " " not in argument:
            yield from self._of(self._session.around.people, word, " ")
        elif word:
            yield from self._of(self._session.around.people, word, ": " if word == before else " ")

    def _of(self, names: Iterable[str], word: str, end: str) -> Iterator[Completion]:
        for name in names:
            if name.lower().startswith(word.lower()) and name.lower() != self._session.around.name.lower():
                yield Completion(name + end, -len(word), display=name)


class KeptLines(History):
    """Typed lines of this run and of earlier ones, in a file that its owner alone can read.

    Lines with a password or a key are not kept in the file.

    Args:
        path: of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._broken = False

    @override
    def load_history_strings(self) -> Iterable[str]:
        lines: list[str] = []
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, encoding="utf-8", errors="replace", newline="\n") as file:
                lines = file.read(2 * MOST_LINES * LONGEST_LINE).split("\n")[:-1]
        if len(lines) > 2 * MOST_LINES:
            self._shorten(lines[-MOST_LINES:])
        return [line.replace("\t", "\n") for line in reversed(lines[-MOST_LINES:])]

    @override
    def store_string(self, string: str) -> None:
        words = string.split(" ")
        secret = words[0].lower() in _SECRET or (words[0].lower() in _WITH_ROOM and len(words) > 2)
        if secret or len(string) > LONGEST_LINE or self._broken:
            return
        line = string.replace("\t", " ").replace("\n", "\t") + "\n"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o600)
            with open(descriptor, "ab", buffering=0) as file:
                os.fchmod(descriptor, 0o600)
                file.write(line.encode("utf-8", "replace"))
        except OSError:
            self._broken = True  # a full or missing folder must not disturb a conversation

    def _shorten(self, lines: list[str]) -> None:
        with suppress(OSError):
            new = self._path.with_suffix(f".{os.getpid()}")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
            new.replace(self._path)


def users_lines() -> KeptLines:
    """Return the lines of this user: `$XDG_STATE_HOME/sockd/chat/lines`."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return KeptLines(folder / "sockd" / "chat" / "lines")
