"""Debounce: requests that come close together are carried out once for many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sockd.telemetry.catalogue import REQUEST_FAULT

QUIET = 0.05
"""Seconds without a request after which a burst of requests is over."""

LONGEST = 1.0
"""Seconds after which a burst that does not end is carried out all the same."""

_log = Logger(namespace="sockd")


class Debounced:
    """Requests that are carried out at once if none has come just before, otherwise when the burst is over.

    While it is carried out, and for as long again up to a second, further requests wait and are then one. The
    state at the time of the last request is always seen.

    Args:
        call: carries the request out; what it raises is logged.
        clock: its seconds should be monotonic.
    """

    def __init__(self, call: Callable[[], Awaitable[object]], clock: IReactorTime) -> None:
        self._call = call
        self._clock = clock
        self._asked = -QUIET  # when it was last asked
        self._rested = 0.0  # when the next one may begin
        self._latest = 0.0  # when the one that waits has to begin
        self._timer: IDelayedCall | None = None
        self._running = False
        self.pending = False

    def ask(self) -> None:
        """Request the call."""
        now = self._clock.seconds()
        in_burst = now - self._asked < QUIET
        self._asked = now
        if not self.pending:
            self.pending = True
            self._latest = now + LONGEST
        elif self._timer is None:
            return
        if self._running:
            return
        begin = max(min(now + QUIET if in_burst else now, self._latest), self._rested)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, begin - now), self._begin)

    def _begin(self) -> None:
        self._timer = None
        self.pending = False
        self._running = True
        began = self._clock.seconds()
        Deferred.fromCoroutine(self._carry_out()).addBoth(self._ended, began)

    async def _carry_out(self) -> None:
        try:
            await self._call()
        except Exception:  # whatever it was, the next request is carried out
            REQUEST_FAULT.write_failure(_log)

    def _ended(self, _: object, began: float) -> None:
        now = self._clock.seconds()
        self._running = False
        self._rested = now + min(now - began, LONGEST)
        if self.pending:
            self._timer = self._clock.callLater(max(0.0, self._rested - now), self._begin)
