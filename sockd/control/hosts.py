"""Hosts in URLs under which browsers may read the status page.

A page from elsewhere may let its own name lead here (DNS rebinding), and its script then reads what this port
answers. The Host header still has the foreign name.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection

from twisted.internet.abstract import isIPAddress, isIPv6Address

_HOST = re.compile(r"\[([0-9a-f:.]+)\](?::[0-9]*)?|([^:\[\]]*)(?::[0-9]*)?", re.IGNORECASE)
"""A Host header (RFC 9110, 7.2): an IPv6 address, or another host; then perhaps a port."""


class Hosts:
    """Hosts that are let in: any address, localhost, and names of this machine.

    An address is safe: no foreign page has it as its name.

    Args:
        configured: names, beside the machine's own host name.
    """

    def __init__(self, configured: Collection[str]) -> None:
        own = socket.gethostname().lower()
        self._known = {"", "localhost", own, own.partition(".")[0], *(name.lower() for name in configured)}

    def include(self, host: str) -> bool:
        """Tell whether a Host header is one of them."""
        matched = _HOST.fullmatch(host)
        if matched is None:
            return False
        if (ipv6 := matched[1]) is not None:
            return isIPv6Address(ipv6)
        name = matched[2].lower().removesuffix(".")
        return name in self._known or name.endswith(".localhost") or isIPAddress(name)
