"""Watchdog of the reactor: report the stack of a callback that blocks it, while it blocks.

A thread looks at the stack of the reactor's thread a few times in each `limit`. A reactor that waits for
events is well, and the look has cost it nothing. A reactor that works is asked to beat: to note the time, at
once and a few times in each `limit`. While no beat comes, the reactor serves no peer; its stack is reported.

A reactor in many short turns can keep the interpreter from this thread for seconds, because it takes the lock
back before the thread wakes. The beats show afterwards that the reactor made its turns.

A call that holds the interpreter lock, such as a regular expression, stops this thread too. The block is then
reported when the call returns, still with its place. A call that never returns is noticed by another process
only: the supervisor.
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
"""Seconds after which a block is reported: a person notices it, and a timer of 100 ms was late twice."""

LOOKS = 3
"""Looks in each limit. A block is dated to the middle of two looks: 42 ms off at most, 12 looks a second."""

STACK_PERIOD = 1.0
"""Seconds between two stacks in the log: a stack is a long line."""

ASK_PERIOD = 1.0
"""Seconds after which an idle reactor is asked too: on uvloop, calls from C look like waiting."""

STANDSTILL = 0.1
"""Share of a processor: a stopped process uses less, a working process more, even on a loaded machine."""

DEPTH = 40
"""Frames of a stack that are shown: more than twice the frames of Twisted above a plugin."""

WAITING = frozenset(
    {
        *("EPollReactor.doPoll", "PollReactor.doPoll", "SelectReactor.doSelect"),
        *("AsyncioSelectorReactor.run", "UVReactor.run"),
    }
)
"""Innermost functions of reactors that wait for events; the loop of uvloop has no Python frame."""

_FRAMES_OF_OTHERS = tuple(
    str(folder) + sep for folder in (Path(__file__).parents[1], Path(twisted.__file__).parent)
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + sep


@dataclass(frozen=True, slots=True)
class Block:
    """Period in which the reactor served no peer.

    Attributes:
        seconds: length until now, or the whole length if it is over.
        over: the reactor makes turns again.
        place: innermost line that is not of sockd, Twisted or Python: `plugin.py:41 in dataReceived`.
        stack: frames in one line, innermost first; empty if it is over, or if a stack was just shown.
    """

    seconds: float
    over: bool
    place: str
    stack: str


class Delay(NamedTuple):
    """Delay of the reactor's timers in seconds: the last one, and the worst since the last query."""

    last: float
    worst: float


class Watchdog:
    """Watchdog of the reactor's thread, which is the thread that starts it.

    Args:
        limit: seconds without a turn that are reported.
        report: called by the watchdog's thread when a block is found, and again when it is over.
        reactor: reactor that is watched.
    """

    def __init__(self, limit: float, report: Callable[[Block], None], reactor: Any) -> None:
        self._limit = limit
        self._report = report
        self._reactor = reactor
        self._tick = limit / LOOKS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = 0
        self._due = 0.0  # time of the next planned look
        self._noted = (0.0, 0.0)  # time and processor time of the last look or beat
        self._alive = 0.0  # last time at which the reactor was known to make turns
        self._at_work = 0.0  # last time at which the reactor was seen to work
        self._beating = False
        self._beat_on = True  # set by the thread: the reactor itself cannot know that it is idle
        self._beat_at = 0.0  # time of the last beat
        self._late = 0.0  # largest delay of a beat since the last look, in seconds
        self._next_beat: IDelayedCall | None = None
        self._begun: float | None = None  # begin of the block that was reported
        self._place = ""
        self._stack_shown = -STACK_PERIOD
        self._delay = Delay(0.0, 0.0)

    def start(self) -> None:
        """Start; the running reactor calls it. The watchdog ends with the reactor."""
        self._watched = threading.get_ident()
        self._alive = time.monotonic()
        self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)
        self._at_work = self._alive
        self._beating = True
        self._beat(self._alive)
        self._thread.start()

    def stop(self) -> None:
        """Stop; nothing is reported from now on."""
        self._ended.set()
        if self._next_beat is not None and self._next_beat.active():
            self._next_beat.cancel()
        if self._thread.is_alive():
            self._thread.join(self._limit)

    def delay(self) -> Delay:
        """Return the delay of the reactor, and reset the worst."""
        delay, self._delay = self._delay, Delay(self._delay.last, 0.0)
        return delay

    def _watch(self) -> None:
        now, pause = time.monotonic(), self._tick
        while True:
            # Counted from the last look: the process may have been stopped since then.
            self._due = now + pause
            if self._ended.wait(pause):
                return
            # First of all: a call that has just released the interpreter is still at its line.
            frame = sys._current_frames().get(self._watched)
            if frame is None:  # the thread is gone
                return
            now = time.monotonic()
            stopped = self._skip_standstill(now)
            self._take_delay(stopped)
            self._look(frame, now)
            del frame  # a frame keeps its variables alive
            pause = self._tick
            if self._begun is None:
                pause = min(pause, max(self._alive + self._tick / 2 + self._limit - now, 0.001))

    def _skip_standstill(self, now: float) -> float:
        """Exclude a time in which the whole process was stopped, as by SIGSTOP: the reactor did not block.

        Returns:
            Seconds for which the process was stopped since the last look.
        """
        # A beat may be newer than the last look, and the process may have stopped after it.
        self._alive = max(self._alive, self._beat_at)
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
        """Add the largest delay of a beat since the last look."""
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
            # A call that held the interpreter until now has kept peers waiting since the planned look.
            due = self._due if now - self._due > self._tick else time.monotonic()
            self._reactor.callFromThread(self._beat, due)

    def _beat(self, due: float) -> None:
        """Note that the reactor makes turns. The reactor calls it; `due` is the planned time."""
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
        with suppress(Exception):  # a failed report must not end the watchdog
            self._report(block)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frame and its callers."""
    for _ in range(DEPTH):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _place(innermost: FrameType) -> str:
    """Return the innermost line of a plugin, or the innermost line."""
    blamed = next((frame for frame in _frames(innermost) if _is_of_plugin(frame)), innermost)
    return _line(blamed, Path(blamed.f_code.co_filename).name)


def place_of(frame: FrameType, line: int) -> str:
    """Return a line of a plugin as `FILE:LINE in FUNCTION`; empty for sockd, Twisted and Python."""
    code = frame.f_code
    return f"{code.co_filename}:{line} in {code.co_name}" if _is_of_plugin(frame) else ""


def _is_of_plugin(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(_FRAMES_OF_OTHERS) or file.startswith("<frozen "):
        return False
    return not file.startswith(_STANDARD_LIBRARY) or "-packages" in file


def _line(frame: FrameType, file: str) -> str:
    return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
