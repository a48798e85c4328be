"""Plugins that are started and stopped once, in a process that serves nobody, before they get to serve."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from sockd.config import Broker, Config, SocketOptions
from sockd.control.words import Refused
from sockd.endpoint import Endpoint, InetEndpoint, SystemdEndpoint
from sockd.errors import PluginError, reasons
from sockd.serving.plugin_start import BLOCKED_AT_RELOAD
from sockd.serving.server import Server
from sockd.sockets.open import BoundSocket

_OF_SYSTEMD = InetEndpoint("tcp", 0)
"""Stands for an endpoint of systemd, which is known by its name alone."""


async def try_out(
    config: Config, names: Collection[str], starting: Callable[[str], None], reactor: Any
) -> None:
    """Build, start and stop the plugins of these services; none of their sockets is opened.

    Args:
        config: the whole configuration, with the options of plugins.
        names: of the services.
        starting: told which plugin is about to start.
        reactor: of this process.

    Raises:
        Refused: one cannot start.
    """
    services = {name: config.services[name] for name in names}
    alone = replace(config, services=services, broker=Broker())  # who serves nobody is nowhere present
    server = Server(alone, reactor, open_socket=_unopened)
    server.starting(starting)
    try:
        server.bind()
        await server.start(BLOCKED_AT_RELOAD)
        await server.unstart()
    except (ExceptionGroup, PluginError) as error:
        raise Refused(reasons(error)) from error
    finally:
        server.release()


def _unopened(endpoint: Endpoint, options: SocketOptions) -> BoundSocket:  # noqa: ARG001  # as OpenSocket has it
    """A socket in the place of one that others have open."""
    return BoundSocket(socket.socket(), _OF_SYSTEMD if isinstance(endpoint, SystemdEndpoint) else endpoint)
