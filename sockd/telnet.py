r"""The telnet protocol under a line protocol, for plugin authors (RFC 854, RFC 1143).

Telnet programs such as PuTTY say what they can (IAC WILL …, IAC DO …) before the person's first line.
`Telnet` takes that out of what arrives, and refuses every option: both ends stay a network virtual
terminal, which edits and echoes each line itself. A peer that speaks no telnet notices nothing:

    class Greeter(Protocol):
        def connectionMade(self):
            self.telnet = Telnet(self.transport.write)
            self.lines = Lines(max_length=512)
        def dataReceived(self, data):
            for line in self.lines.feed(self.telnet.feed(data)):
                self.transport.write(b"hello " + line + self.telnet.line_end)

IAC is the byte 0xFF, which UTF-8 text never has. For a binary protocol this is not meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_IAC, _SE, _AYT, _SB = b"\xff", 0xF0, 0xF6, 0xFA
_WILL, _WONT, _DO, _DONT = 0xFB, 0xFC, 0xFD, 0xFE

_REFUSALS = {_WILL: _DONT, _DO: _WONT}
"""Answers that refuse an offer, and a request. WONT and DONT ask for nothing and get no answer, so two ends
never refuse each other without end (RFC 1143, 7)."""

_TIMING_MARK = 6
"""Option that a client requests to get an answer, each time anew (RFC 860). Until the answer comes, a client
that was interrupted drops what it reads."""

_PRESENT = b"[yes]\r\n"
"""Visible answer to AYT, are you there."""

_IN_OPTION = re.compile(rb"\xff(.)", re.DOTALL)
"""Byte 0xFF among the details of an option, written twice, or their end."""


class Telnet:
    """Filter that takes the telnet protocol out of one peer's stream. Keeps three bytes at most between two
    pieces.

    Args:
        write: sends bytes to the peer.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._held = b""  # a command that is not complete
        self._return = b""  # a CR of which the other half of a line's end is still to come
        self._in_option = False  # between SB and SE
        self._spoken = False
        self._refused: set[bytes] = set()

    @property
    def line_end(self) -> bytes:
        """Line end for this peer: CR LF once it has spoken telnet, else LF."""
        return b"\r\n" if self._spoken else b"\n"

    def feed(self, data: bytes) -> bytes:
        """Return the text in the next piece of the stream, and answer its commands.

        The end of line CR NUL of a telnet peer becomes CR LF. A byte 0xFF that begins no command is text.
        """
        if not self._spoken and not self._held and _IAC not in data:
            return data
        data, self._held = self._held + data, b""
        answers = bytearray()
        text = self._text(data, answers)
        if answers:
            self._write(bytes(answers))
        return text

    def _text(self, data: bytes, answers: bytearray) -> bytes:
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            if self._in_option:
                at = self._after_option(data, at)
                continue
            command = data.find(_IAC, at)
            end = len(data) if command < 0 else command
            parts.append(self._lines(data[at:end]))
            at = end if command < 0 else self._after_command(data, command, parts, answers)
        return b"".join(parts)

    def _after_command(self, data: bytes, at: int, parts: list[bytes], answers: bytearray) -> int:
        """Obey the command at `at`; return where the following bytes begin."""
        code = data[at + 1] if at + 1 < len(data) else None
        if code is None or (code >= _WILL and code != 0xFF and at + 2 == len(data)):
            self._held = data[at:]
            return len(data)
        if code == 0xFF:  # the byte itself, written twice
            parts.append(self._lines(_IAC))
            return at + 2
        if code < _SE:  # no command: text that is not UTF-8, or the rest of an urgent DM that came apart
            if not self._spoken:
                parts.append(_IAC)
            return at + 1
        self._spoken = True
        if code == _SB:
            self._in_option = True
        elif code == _AYT:
            answers += _PRESENT
        elif code in (_WILL, _WONT, _DO, _DONT):
            self._refuse(data[at + 1 : at + 3], answers)
            return at + 3
        return at + 2

    def _refuse(self, command: bytes, answers: bytearray) -> None:
        verb, option = command
        if verb in _REFUSALS and (command not in self._refused or command == bytes((_DO, _TIMING_MARK))):
            self._refused.add(command)
            answers += bytes((0xFF, _REFUSALS[verb], option))

    def _after_option(self, data: bytes, at: int) -> int:
        """Skip the details of an option; return where the following bytes begin."""
        for found in _IN_OPTION.finditer(data, at):
            at = found.end()
            if found[1][0] == _SE:
                self._in_option = False
                return at
        if data.endswith(_IAC, at):
            self._held = _IAC
        return len(data)

    def _lines(self, text: bytes) -> bytes:
        """Return the next part of the text; for a telnet peer with the line ends of other programs."""
        if not self._spoken:
            return text
        text, self._return = self._return + text, b""
        if text.endswith(b"\r"):
            text, self._return = text[:-1], b"\r"
        return text.replace(b"\r\0", b"\r\n")
