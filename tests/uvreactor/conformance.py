"""Runner of Twisted's own tests of reactors against this one, in a process of its own; see test_conformance.

python conformance.py twisted.internet.test.test_tcp …
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from twisted.internet.test import reactormixins

LONGEST = 2
"""Seconds for one test; Twisted allows two minutes."""


def reactor_under_test(test: Any) -> Any:
    """Return a reactor on a loop of its own, which is closed after the test."""
    from sockd.uvreactor.reactor import UVReactor

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    test.addCleanup(loop.close)
    return UVReactor(loop)


if __name__ == "__main__":
    vars(reactormixins)["DEFAULT_TIMEOUT_DURATION"] = LONGEST
    sys.modules["conformance"] = sys.modules["__main__"]
    reactormixins.ReactorBuilder._reactors[:] = ["conformance.reactor_under_test"]
    # Imported late: the modules of the tests make their classes on import.
    from twisted.scripts.trial import run

    run()
