"""Clock whose turns end at once, for tests that do not look at turns."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from typing_extensions import override


class ShortTurns(Clock):
    """Clock that makes a call without a delay before `callLater` returns."""

    @override
    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        call = super().callLater(delay, callable, *args, **kw)
        if not delay:
            self.advance(0)
        return call
