"""Connections of a run in several threads, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from sockd.cli.send.channel import Interrupted
from sockd.cli.send.delivery import Delivery
from sockd.cli.send.items import Item
from sockd.cli.send.work import Work


def test_a_fault_in_any_thread_ends_the_run(recwarn: pytest.WarningsRecorder) -> None:
    """Such as an output that cannot be written."""
    work = Work([Item(f"{number}", f"{number}", 1) for number in range(4)], lambda _: None)
    fault = OSError("the output")

    class Connection:
        def __init__(self, *, is_helper: bool) -> None:
            self.is_helper = is_helper

        def run(self, opened: Callable[[], object]) -> None:
            if self.is_helper:
                raise fault
            opened()
            while not work.interrupted:
                threading.Event().wait(0.001)
            raise Interrupted

    delivery = Delivery(
        lambda large_first: Connection(is_helper=large_first),
        lambda: True,
        work,
        lambda _: None,
        parallel=2,
        retry=None,
    )
    with pytest.raises(OSError, match="the output") as caught:
        delivery.run()
    assert caught.value is fault
    assert not recwarn.list, "the thread itself tells nothing"
