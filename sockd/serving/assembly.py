"""Builds one process that serves from the configuration and the options of twistd."""

from __future__ import annotations

from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config, Source
from sockd.process.assembly import bind, gather
from sockd.process.daemon import DaemonProcess
from sockd.serving.operator import LocalOperator
from sockd.serving.role import ServingRole
from sockd.serving.server import Server


def serving(config: Config, source: Source | None, options: ServerOptions) -> DaemonProcess:
    """Return one process that serves, with every socket open.

    Args:
        config: what to serve.
        source: its file; None where there is none.
        options: twistd's.
    """
    parts = gather(config, options)
    server = Server(config, parts.reactor, parts.fallback, parts.store.open_socket)
    role = ServingRole(server, parts.reactor, parts.log, source)
    daemon = parts.daemon(role, source)
    bind(daemon, parts, LocalOperator(role, daemon))
    return daemon
