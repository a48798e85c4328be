"""Conversation on the whole screen of a terminal: messages that scroll, and the line being typed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, get_common_complete_suffix
from prompt_toolkit.filters import Always, Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import Float, FloatContainer, HSplit, Layout, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

from sockd.cli.address import Address
from sockd.cli.chat import look
from sockd.cli.chat.link import Link
from sockd.cli.chat.pane import Entry, Pane
from sockd.cli.chat.session import Session
from sockd.cli.chat.typing import Completing, explained, users_lines
from sockd.cli.chat.view import Wishes
from sockd.cli.chat.wire import Private, Said
from sockd.text import printable

PAGE_OF_HISTORY = 50
"""Older messages that are asked for at a time."""

MOST_PENDING = 20
"""Messages on their way that are shown."""

MOST_ROWS_TYPED = 6
"""Rows of the line being typed at most, so that there is room for the messages."""


def converse_on_screen(address: Address, wishes: Wishes, retry: float | None) -> None:
    """Hold a conversation on a terminal.

    Raises:
        Failed: the chat cannot be reached or was lost, or refuses the person.
        KeyboardInterrupt: the person pressed Ctrl-C on an empty line.
    """
    asyncio.run(_Screen(address, wishes, retry).run())


class _Screen:
    def __init__(self, address: Address, wishes: Wishes, retry: float | None) -> None:
        self._address = address
        self._link = Link(address, retry, self._changed)
        self._session = Session(wishes, address.stream, self._link.send, self)
        self._link.session = self._session
        self._state = ""
        self._interrupted = False
        self._loading = False
        self._look = look.Look()
        self._pane = Pane(self._pending)
        self._completing = Completing(self._session)
        self._line = Buffer(
            completer=self._completing,
            complete_while_typing=False,
            history=users_lines(),
            enable_history_search=True,
            multiline=True,
            accept_handler=self._accept,
        )
        # The cursor's position is not asked for: the whole screen is drawn.
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False
        self._app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=look.STYLE,
            full_screen=True,
            output=output,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
        )

    async def run(self) -> None:
        showing = asyncio.ensure_future(self._app.run_async())
        holding = asyncio.ensure_future(self._link.run())
        try:
            await asyncio.wait([showing, holding], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._app.is_running:
                self._app.exit()
            await showing
            holding_failed = holding.exception() if holding.done() and not holding.cancelled() else None
            if not holding.done():
                holding.cancel()
        if holding_failed is not None:
            raise holding_failed
        if self._interrupted:
            raise KeyboardInterrupt

    # The view of the session.

    def said(self, said: Said, *, own: bool, old: bool) -> None:
        """Show a message of the room."""
        entry = look.of_message(said, self._session.around.room, self._session.around.name, is_own=own)
        if old:
            self._pane.add_older(entry)
            return
        for day in self._look.days(said.at):
            self._pane.add(day)
        self._add(entry)

    def told(self, private: Private) -> None:
        """Show a private message."""
        self._add(look.of_private(private))

    def note(self, text: str) -> None:
        """Show a line from the server, or about the connection."""
        self._add(look.of_note(text))

    def refused(self, code: str, text: str) -> None:  # noqa: ARG002
        """Show a refusal."""
        self._add(look.of_note(text, "class:refused"))

    def unknown(self, text: str) -> None:
        """Show that it is not known whether a message has arrived."""
        self._add(look.of_note(f"not known whether this arrived: {printable(text)}", "class:refused"))

    def redacted(self, room: str, number: int) -> None:
        """Remove the text of a message that is shown."""
        self._pane.redact(room.lower(), number)

    def _add(self, entry: Entry) -> None:
        self._pane.add(entry)
        self._app.invalidate()

    def _pending(self) -> Iterable[Entry]:
        return [look.of_pending(printable(text)) for text in self._session.pending[:MOST_PENDING]]

    def _changed(self, text: str) -> None:
        self._state = text
        self._app.invalidate()

    # What is typed.

    def _accept(self, buffer: Buffer) -> bool:
        now = asyncio.get_running_loop().time()
        self._pane.follow()
        for line in buffer.text.split("\n"):
            match line.strip().lower():
                case "/clear":
                    self._pane.clear()
                case "/numbers":
                    self._pane.numbered = not self._pane.numbered
                case "/help":
                    for text in explained():
                        self.note(text)
                case _:
                    self._session.typed(line.strip(), now)
        self._link.wake()
        return False  # empties the line

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        completing = Condition(lambda: self._line.complete_state is not None)
        empty = Condition(lambda: not self._line.text)
        for pressed, act, when in (
            (("enter",), self._line.validate_and_handle, ~completing),
            (("enter",), self._end_completion, completing),
            (("tab",), self._complete, Always()),
            (("escape", "enter"), lambda: self._line.insert_text("\n"), Always()),
            (("pageup",), lambda: self._scroll_up(1), Always()),
            (("c-home",), lambda: self._scroll_up(1e6), Always()),
            (("pagedown",), lambda: self._pane.scroll(-1), Always()),
            (("c-end",), self._pane.follow, Always()),
            (("c-c",), self._line.reset, ~empty),
            (("c-c",), self._interrupt, empty),
            (("c-d",), self._leave, empty),
            (("c-z",), lambda: self._app.suspend_to_background(), Always()),
        ):
            keys.add(*pressed, filter=when)(_without_event(act))
        return keys

    def _complete(self) -> None:
        """Complete at once if there is one way to, as the person may type on; else show the choice."""
        document = self._line.document
        found = list(self._completing.get_completions(document, CompleteEvent(completion_requested=True)))
        if self._line.complete_state is not None:
            self._line.complete_next()
        elif len(found) == 1:
            self._line.apply_completion(found[0])
        elif common := get_common_complete_suffix(document, found):
            self._line.insert_text(common)
        elif found:
            self._line.start_completion()

    def _end_completion(self) -> None:
        self._line.complete_state = None

    def _scroll_up(self, pages: float) -> None:
        self._pane.scroll(pages)
        self._load_older()

    def _interrupt(self) -> None:
        self._interrupted = True
        self._leave()

    def _leave(self) -> None:
        self._session.leave(asyncio.get_running_loop().time())
        self._link.wake()

    def _load_older(self) -> None:
        """Ask for a page of older messages, if the oldest one is on the screen."""
        room = self._session.around.room
        oldest = self._pane.oldest(room.lower())
        if self._loading or not self._pane.reaches_top(2) or not oldest:
            return

        def arrived() -> None:
            self._loading = False
            if not self._pane.show_older():
                self._pane.add_older(look.of_note(f"older messages of {room} are not kept, or not for you"))
                self._pane.show_older()
            self._app.invalidate()

        self._loading = self._session.before(oldest, PAGE_OF_HISTORY, arrived)

    # The layout.

    def _layout(self) -> Layout:
        line = BufferControl(self._line, focusable=True)
        typed = Window(
            line,
            height=Dimension(min=1, max=MOST_ROWS_TYPED),
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=lambda number, wrap: (
                f"{self._session.around.name}> " if number == wrap == 0 else ""
            ),
        )
        body = HSplit(
            [
                Window(FormattedTextControl(self._title), height=1, style="class:bar"),
                Window(self._pane, wrap_lines=False, always_hide_cursor=True),
                Window(FormattedTextControl(self._status), height=1, style="class:bar"),
                typed,
            ]
        )
        menu = Float(CompletionsMenu(max_height=8, scroll_offset=1), xcursor=True, ycursor=True)
        return Layout(FloatContainer(body, [menu]), focused_element=typed)

    def _title(self) -> StyleAndTextTuples:
        room, topic = self._session.around.room, self._session.around.topic
        return [("", f" {room or 'no room'}{f' | {topic}' if topic else ''}")]

    def _status(self) -> StyleAndTextTuples:
        if self._state:
            return [("class:away", f" {self._state} ")]
        if not self._pane.following:
            new = f"{self._pane.unseen} new, " if self._pane.unseen else ""
            return [("", f" {new}PageDown goes back to the newest")]
        return [
            ("", f" {self._address} | {len(self._session.around.people)} here | /help, Tab, PageUp, /quit")
        ]


def _without_event(act: Callable[[], object]) -> Callable[[KeyPressEvent], None]:
    def pressed(_event: KeyPressEvent) -> None:
        act()

    return pressed
