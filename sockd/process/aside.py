"""Calls that may hang, as those to a file system may, in a thread that is not waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


async def aside(call: Callable[[], T], within: float, reactor: Any) -> T:
    """Make a call in a thread of its own and await its result, while the reactor serves.

    The thread is not one of the reactor's: those are waited for at the end, and are few.

    Args:
        call: made in the thread.
        within: seconds until it is given up; the thread stays with it.
        reactor: keeps the time.

    Raises:
        twisted.internet.defer.TimeoutError: it has not ended in time.
        BaseException: whatever the call raises.
    """
    ended: Deferred[T] = Deferred()

    def end(result: Any) -> None:
        if not ended.called:
            ended.callback(result)

    def make() -> None:
        result: Any
        try:
            result = call()
        except BaseException:  # it is raised where the call was asked for
            result = Failure()
        with suppress(RuntimeError):  # the interpreter ends
            reactor.callFromThread(end, result)

    threading.Thread(target=make, name="aside", daemon=True).start()
    return await ended.addTimeout(within, reactor)
