"""Factory of the peers of a listener."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from typing_extensions import override

from sockd_plugins.files.stream.peer import Peer


class Peers(Factory):
    """Factory of peers.

    Args:
        build: makes one.
    """

    noisy = False

    def __init__(self, build: Callable[[], Peer]) -> None:
        self._build = build

    @override
    def buildProtocol(self, addr: IAddress | None) -> Peer:
        return self._build()
