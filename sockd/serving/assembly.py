"""Builds one process that serves from the configuration and the options of twistd."""

from __future__ import annotations

import os

from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config, Source
from sockd.control.doors import open_doors
from sockd.errors import BindError
from sockd.process.life import HURRY, PLUGIN_STOP_TIMEOUT
from sockd.process.ownership import Estate
from sockd.process.reactor import install_reactor
from sockd.process.twistd import begin_launch, find_owner, give_up, list_made, list_swept, open_log
from sockd.serving.daemon import Daemon
from sockd.serving.operator import LocalOperator
from sockd.serving.server import Server
from sockd.sockets.inherit import Inherited
from sockd.sockets.notify import Notifier, taken_from
from sockd.sockets.store import Store


def serving(config: Config, source: Source | None, options: ServerOptions) -> Daemon:
    """One process that serves, with every socket open.

    Args:
        config: what to serve.
        source: its file; None where there is none.
        options: twistd's.
    """
    reactor, fallback = install_reactor()
    owner, estate = find_owner(options), Estate(list_made(config, options), config.daemon.state_dir)
    launch = begin_launch(options)
    log = None if options["syslog"] or options["logger"] else open_log(config, options)
    manager = taken_from(os.environ)
    notifier = Notifier.from_environment(manager)
    store = Store(Inherited.from_environment(manager), notifier, manager)
    store.prepare(config)
    server = Server(config, reactor, fallback, store.open_socket)
    stop_within = config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT + HURRY
    daemon = Daemon(server, reactor, log, source, notifier, store, stop_within, launch)
    try:
        server.bind()
        operator = LocalOperator(daemon)
        daemon.doors = open_doors(
            config, operator, operator.status, reactor, store.open_socket, owner.user if owner else None
        )
    except ExceptionGroup as group:
        give_up(*(f"sockd: {error}" for error in group.exceptions))
    except BindError as error:  # of a door; the services have been opened before
        server.release()
        give_up(f"sockd: {error}")
    if owner is not None:
        estate.hand_over(owner)
        launch.sweeps = list_swept(config, options, manager)
    return daemon
