"""Import of the reactor, the only one: the fast reactor, if it can be installed, on monotonic time."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from twisted.application import reactors


def install_reactor(name: str = "") -> tuple[Any, str]:
    """Install and return the reactor of this process, with the reason why it is not the fast one.

    Args:
        name: one of twistd's; without it, it is the fast one, unless there is one already.
    """
    if name:
        reactors.installReactor(name)
    fallback = _install_fast_reactor()
    from twisted.internet import reactor

    # Deadlines must not follow steps of the wall clock; nothing has been scheduled yet. What is served may
    # take the time of day from the reactor all the same, so it begins there.
    begun = time.time() - time.monotonic()
    reactor.seconds = lambda: begun + time.monotonic()  # type: ignore[method-assign]
    _raise_descriptor_limit()
    return reactor, fallback


def _install_fast_reactor() -> str:
    """Install sockd's own reactor, unless one is there already; returns why it cannot be installed."""
    if "twisted.internet.reactor" in sys.modules:  # --reactor, or another plugin of twistd
        return ""
    from sockd import uvreactor

    reason = uvreactor.unavailable()
    if not reason:
        uvreactor.install()
    return reason


def _raise_descriptor_limit() -> None:
    """Use all the descriptors that the process may have; many systems start it with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
