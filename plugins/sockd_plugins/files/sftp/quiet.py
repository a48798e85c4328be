"""Logger for classes of Conch, which write a line for each packet and each peer."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer


@implementer(ILogObserver)
class _Nowhere:
    def __call__(self, event: LogEvent) -> None:
        pass


QUIET = Logger(observer=_Nowhere())
"""Logger that writes nothing: the service's own events tell what operators need."""
