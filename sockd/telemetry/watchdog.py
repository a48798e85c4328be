"""Tells where the reactor hangs, while it hangs.

A thread looks a few times in each `limit` at what the reactor's thread is doing. If that waits for events,
all is well, and looking has cost the reactor nothing; if it works, it is asked to beat: to note the time, now
and a few times in each `limit`. As long as no beat comes the reactor serves nobody: its stack is reported.

A reactor in many short turns can keep the interpreter from this thread for seconds, since it takes it back
before the thread has woken. The beats show afterwards that it went round.

What holds the interpreter itself, as a regular expression does, stops this thread too: that is told as soon
as it is over, still with its place. What never gives it back, only another process can notice.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import sep
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall

import twisted

LIMIT = 0.25
"""Seconds after which a block is one: a person notices, and a timer of 100 ms has been late twice."""

LOOKS = 3
"""In each limit. A block is dated to the middle of two: 42 ms off at most, 12 looks a second."""

STACK_PERIOD = 1.0
"""Seconds from one stack to the next: the log is for other things too."""

ASK_PERIOD = 1.0
"""Seconds after which an idle reactor is asked too: it may seem to wait and be called from C all the same."""

STANDSTILL = 0.1
"""Share of a processor that no process uses that is stopped, and even on a loaded machine one that works."""

DEPTH = 40
"""Frames of a stack that are shown, which is more than twice what Twisted needs to call a plugin."""

WAITING = frozenset(
    {
        *("EPollReactor.doPoll", "PollReactor.doPoll", "SelectReactor.doSelect"),
        *("AsyncioSelectorReactor.run", "UVReactor.run"),
    }
)
"""The innermost function of a reactor that waits for events; on uvloop its loop is not to be seen."""

_FRAMES_OF_OTHERS = tuple(
    str(folder) + sep for folder in (Path(__file__).parents[1], Path(twisted.__file__).parent)
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + sep


@dataclass(frozen=True, slots=True)
class Block:
    """A time in which the reactor served nobody.

    Attributes:
        seconds: its length until now, or in all if it is over.
        over: whether the reactor goes round again.
        place: the innermost line that is not of sockd, Twisted or Python: `plugin.py:41 in dataReceived`.
        stack: the frames in one line, innermost first; empty once it is over, or if one was just shown.
    """

    seconds: float
    over: bool
    place: str
    stack: str


class Delay(NamedTuple):
    """How long the reactor took to answer, in seconds: lately, and at worst since this was last asked for."""

    last: float
    worst: float


class Watchdog:
    """Watches the thread that starts it.

    Args:
        limit: seconds without a turn that are reported.
        report: called by the watchdog's own thread when a block is found, and again when it is over.
        reactor: the one that is watched.
    """

    def __init__(self, limit: float, report: Callable[[Block], None], reactor: Any) -> None:
        self._limit = limit
        self._report = report
        self._reactor = reactor
        self._tick = limit / LOOKS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = 0
        self._due = 0.0  # when the thread means to look next
        self._noted = (0.0, 0.0)  # time, and processor time until then, of the last look or beat
        self._alive = 0.0  # when the reactor was last known to go round
        self._at_work = 0.0  # when the reactor was last seen to work
        self._beating = False
        self._beat_on = True  # said by the thread: the reactor cannot know itself that it is idle
        self._beat_at = 0.0  # the last beat
        self._late = 0.0  # the latest beat that is not in the delay yet, in seconds
        self._next_beat: IDelayedCall | None = None
        self._begun: float | None = None  # the block that has been reported
        self._place = ""
        self._stack_shown = -STACK_PERIOD
        self._delay = Delay(0.0, 0.0)

    def start(self) -> None:
        """Begin; to be called by the running reactor. Ends with it."""
        self._watched = threading.get_ident()
        self._alive = time.monotonic()
        self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)
        self._at_work = self._alive
        self._beating = True
        self._beat(self._alive)
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is reported any more."""
        self._ended.set()
        if self._next_beat is not None and self._next_beat.active():
            self._next_beat.cancel()
        if self._thread.is_alive():
            self._thread.join(self._limit)

    def delay(self) -> Delay:
        """How late the reactor was; the worst is forgotten then."""
        delay, self._delay = self._delay, Delay(self._delay.last, 0.0)
        return delay

    def _watch(self) -> None:
        pause = self._tick
        while True:
            self._due = time.monotonic() + pause
            if self._ended.wait(pause):
                return
            # First of all: whoever has just given the interpreter back is still at that line.
            frame = sys._current_frames().get(self._watched)
            if frame is None:  # the thread is gone
                return
            now = time.monotonic()
            stopped = self._skip_standstill(now)
            self._take_delay(stopped)
            self._look(frame, now)
            del frame  # its variables are not ours to keep alive
            pause = self._tick
            if self._begun is None:
                pause = min(pause, max(self._alive + self._tick / 2 + self._limit - now, 0.001))

    def _skip_standstill(self, now: float) -> float:
        """Do not count a time in which the whole process was stopped: that is not the reactor's doing.

        Returns:
            The seconds for which it was stopped since the last look.
        """
        noted, worked = self._noted
        self._noted = (now, time.process_time())
        late = now - max(self._due, noted + self._tick)
        if late <= self._tick or self._noted[1] - worked - self._tick >= late * STANDSTILL:
            return 0.0
        self._due += late
        self._alive += late
        if self._begun is not None:
            self._begun += late
        return late

    def _take_delay(self, stopped: float) -> None:
        """Put the latest beat since the last look into the delay."""
        late, self._late = self._late, 0.0
        if late:
            last = max(0.0, late - stopped)
            self._delay = Delay(last, max(last, self._delay.worst))

    def _look(self, frame: FrameType, now: float) -> None:
        waiting = frame.f_code.co_qualname in WAITING
        self._alive = now if waiting else max(self._alive, self._beat_at)
        if not waiting:
            self._at_work = now
        self._beat_on = now - self._at_work < self._limit
        if self._begun is not None:
            if self._alive > self._begun:
                ended = self._beat_at if self._beat_at > self._begun else self._alive
                self._tell(Block(ended - self._begun, True, self._place, ""))
                self._begun = None
        elif now - self._alive >= self._tick / 2 + self._limit:
            self._begun = self._alive + self._tick / 2
            self._place = _place(frame)
            stack = ""
            if now - self._stack_shown >= STACK_PERIOD:
                self._stack_shown = now
                stack = " < ".join(_line(each, each.f_code.co_filename) for each in _frames(frame))
            self._tell(Block(now - self._begun, False, self._place, stack))
        if not self._beating and (not waiting or now - self._beat_at >= ASK_PERIOD):
            self._beating = True
            # Something that held the interpreter until now would have kept a peer waiting since then.
            due = self._due if now - self._due > self._tick else time.monotonic()
            self._reactor.callFromThread(self._beat, due)

    def _beat(self, due: float) -> None:
        """Note that the reactor goes round; called by the reactor, `due` is when it should have been."""
        now = time.monotonic()
        self._beat_at = now
        self._noted = (now, time.process_time())
        self._late = max(self._late, now - due)
        if self._beat_on and not self._ended.is_set():
            self._next_beat = self._reactor.callLater(self._tick, self._beat, now + self._tick)
        else:
            self._next_beat = None
            self._beating = False

    def _tell(self, block: Block) -> None:
        with suppress(Exception):  # whatever becomes of a report, the watch goes on
            self._report(block)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frame and its callers."""
    for _ in range(DEPTH):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _place(innermost: FrameType) -> str:
    """The line that is to blame."""
    blamed = next((frame for frame in _frames(innermost) if _is_of_plugin(frame)), innermost)
    return _line(blamed, Path(blamed.f_code.co_filename).name)


def place_of(frame: FrameType, line: int) -> str:
    """A line of a plugin, as `FILE:LINE in FUNCTION`; empty for one of sockd, Twisted or Python."""
    code = frame.f_code
    return f"{code.co_filename}:{line} in {code.co_name}" if _is_of_plugin(frame) else ""


def _is_of_plugin(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(_FRAMES_OF_OTHERS) or file.startswith("<frozen "):
        return False
    return not file.startswith(_STANDARD_LIBRARY) or "-packages" in file


def _line(frame: FrameType, file: str) -> str:
    return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
