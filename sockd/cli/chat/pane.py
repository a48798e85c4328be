"""Messages on a screen: wrapped to its width, and scrolled by rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.controls import UIContent, UIControl
from prompt_toolkit.utils import get_cwidth
from typing_extensions import override

MOST_ENTRIES = 5000
"""Messages and notes kept for scrolling; the server has the older ones."""


REMOVED = "(removed)"


@dataclass(slots=True, eq=False)
class Entry:
    """Message or note.

    Attributes:
        head: styles and texts at the beginning of the first row.
        text: of the message.
        style: of the text.
        indent: columns before each further row.
        number: of the message in its room; 0 for none.
        room: of the message; "" for none.
    """

    head: tuple[tuple[str, str], ...]
    text: str
    style: str = ""
    indent: int = 0
    number: int = 0
    room: str = ""
    _drawn_for: tuple[int, bool] | None = None
    _rows: list[StyleAndTextTuples] = field(default_factory=list)

    def rows(self, width: int, *, numbered: bool) -> list[StyleAndTextTuples]:
        """Return the entry in rows of so many columns, perhaps with its number."""
        if self._drawn_for != (width, numbered):
            self._drawn_for, self._rows = (width, numbered), list(self._drawn(width, numbered=numbered))
        return self._rows

    def clear(self) -> None:
        """Show that the text was removed."""
        self.text, self.style, self._drawn_for = REMOVED, "class:note", None

    def _drawn(self, width: int, *, numbered: bool) -> Iterator[StyleAndTextTuples]:
        number = [("class:time", f"{self.number or '':>5} ")] if numbered else []
        head = [*number, *self.head]
        used = sum(get_cwidth(text) for _, text in head)
        indent = self.indent + 6 * numbered
        indent = indent if indent * 2 < width else 0
        first, *others = wrapped(self.text, width - used, width - indent)
        yield [*head, (self.style, first)]
        for piece in others:
            yield [("", " " * indent), (self.style, piece)]


def wrapped(text: str, first: int, others: int) -> list[str]:
    """Split a text into rows, at spaces where there are some.

    Args:
        text: in one line.
        first: columns of the first row; with none or less it stays empty.
        others: columns of each further row, at least one.
    """
    rows: list[str] = []
    start = at = columns = 0
    space = -1  # place behind the last space of the row
    room = first
    while at < len(text):
        size = get_cwidth(text[at])
        if columns + size > room and (at > start or not rows):
            if space < 0 and not rows:
                space = start  # the first word goes to the second row, if it does not fit beside the head
            cut = space if space >= 0 else at
            rows.append(text[start:cut].rstrip(" "))
            start = at = cut
            columns, space, room = 0, -1, max(1, others)
            continue
        columns += size
        at += 1
        if text[at - 1] == " ":
            space = at
    return [*rows, text[start:]]


class Pane(UIControl):
    """Entries, the newest one at the bottom.

    Args:
        pending: returns entries that are shown below all others for now.

    Attributes:
        unseen: how many entries came while older ones were being read.
        numbered: whether messages are shown with their numbers.
    """

    def __init__(self, pending: Callable[[], Iterable[Entry]]) -> None:
        self.unseen = 0
        self.numbered = False
        self._pending = pending
        self._entries: deque[Entry] = deque(maxlen=MOST_ENTRIES)
        self._older: list[Entry] = []  # of a page that is arriving
        self._offset = 0  # rows below the screen
        self._width = 80
        self._height = 24

    @property
    def following(self) -> bool:
        """True while the newest entry is shown."""
        return self._offset == 0

    def reaches_top(self, pages: float) -> bool:
        """Tell whether at most so many pages of entries are above the screen."""
        wanted = self._offset + self._height * pages
        count = 0
        for entry in self._from_below():
            count += len(entry.rows(self._width, numbered=self.numbered))
            if count > wanted:
                return False
        return True

    def oldest(self, room: str) -> int:
        """Return the number of the oldest message of a room; 0 if there is none."""
        return next((each.number for each in self._entries if each.room == room and each.number), 0)

    def add(self, entry: Entry) -> None:
        """Add an entry; what is being read stays where it is."""
        self._entries.append(entry)
        if self._offset:
            self._offset += len(entry.rows(self._width, numbered=self.numbered))
            self.unseen += 1

    def add_older(self, entry: Entry) -> None:
        """Take an entry of a page of older ones; `show_older` shows them."""
        self._older.append(entry)

    def show_older(self) -> int:
        """Show the page of older entries above the others; return how many it has."""
        page, self._older = self._older, []
        room = MOST_ENTRIES - len(self._entries)
        for entry in reversed(page[max(0, len(page) - room) :] if room else []):
            self._entries.appendleft(entry)
        return len(page)

    def redact(self, room: str, number: int) -> None:
        """Remove the text of a message."""
        for entry in self._entries:
            if (entry.room, entry.number) == (room, number):
                entry.clear()

    def scroll(self, pages: float) -> None:
        """Go up by so many pages, or down."""
        self._offset = max(0, self._offset + int(pages * max(1, self._height - 1)))
        if self.following:
            self.unseen = 0

    def follow(self) -> None:
        """Show the newest entry."""
        self._offset = self.unseen = 0

    def clear(self) -> None:
        """Remove all entries from the screen."""
        self._entries.clear()
        self.follow()

    @override
    def create_content(self, width: int, height: int) -> UIContent:
        self._width, self._height = width, height
        rows = self._visible(width, height)
        return UIContent(get_line=rows.__getitem__, line_count=len(rows), show_cursor=False)

    def _visible(self, width: int, height: int) -> list[StyleAndTextTuples]:
        """Return the rows on the screen, from the bottom up, then turned round."""
        rows: list[StyleAndTextTuples] = []
        wanted = self._offset + height
        for entry in self._from_below():
            rows += reversed(entry.rows(width, numbered=self.numbered))
            if len(rows) > wanted:
                break
        self._offset = min(self._offset, max(0, len(rows) - height))
        visible: list[StyleAndTextTuples] = rows[self._offset : self._offset + height]
        empty: StyleAndTextTuples = [("", "")]
        visible += [empty] * (height - len(visible))
        return visible[::-1]

    def _from_below(self) -> Iterator[Entry]:
        yield from reversed(list(self._pending()))
        yield from reversed(self._entries)
