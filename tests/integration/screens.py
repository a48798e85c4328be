"""Terminal with a screen, for programs that draw on the whole of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pyte

from running import BIN, PATIENCE


class Screen:
    """Command of `sockd` on a terminal of its own, and what that shows."""

    def __init__(
        self, *words: str, cwd: Path, columns: int = 80, rows: int = 20, env: dict[str, str] | None = None
    ) -> None:
        self.fd, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        environ = {
            **os.environ,
            "TERM": "xterm-256color",
            "XDG_STATE_HOME": str(cwd / "state"),
            **(env or {}),
        }
        self.process = subprocess.Popen(
            [BIN / "sockd", *words], stdin=inside, stdout=inside, stderr=inside, env=environ, cwd=cwd
        )
        os.close(inside)

    @property
    def lines(self) -> list[str]:
        """Return the rows of the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def typed(self) -> str:
        """Return the row of the cursor."""
        return self.lines[self._screen.cursor.y]

    @property
    def colours(self) -> set[str]:
        """Return the colours that are on the screen."""
        return {cell.fg for row in self._screen.buffer.values() for cell in row.values()}

    def types(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, *wanted: str) -> None:
        """Wait until each of these texts is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while missing := [text for text in wanted if not any(text in line for line in self.lines)]:
            assert self._take(deadline), f"{missing} not on the screen:\n" + "\n".join(self.lines)

    def press_until(self, key: str, wanted: str) -> None:
        """Press a key again and again, until a text is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while not any(wanted in line for line in self.lines):
            assert time.monotonic() < deadline, f"{wanted!r} not on the screen:\n" + "\n".join(self.lines)
            self.types(key)
            while self._take(time.monotonic() + 0.2):  # the answer to the key
                pass

    def until_gone(self, text: str) -> None:
        """Wait until a text is on the screen no more."""
        deadline = time.monotonic() + PATIENCE
        while any(text in line for line in self.lines):
            assert self._take(deadline), f"{text!r} still on the screen"

    def ends(self) -> int:
        """Wait for the end of the command; return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._take(deadline):
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def _take(self, deadline: float) -> bool:
        """Draw what the command sends next; return False if nothing will come."""
        if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # all processes that had it open have closed it
            return False
        self._stream.feed(data)
        return bool(data)
