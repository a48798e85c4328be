"""Parts of a daemon in either role, from the options of twistd and the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config, Source, report
from sockd.control.operator import Operator
from sockd.control.own_ports import open_own_ports
from sockd.errors import BindError, ConfigError
from sockd.process.daemon import DaemonProcess
from sockd.process.launch import Launch
from sockd.process.ownership import Estate, Owner
from sockd.process.reactor import install_reactor
from sockd.process.role import Role
from sockd.process.twistd import begin_launch, find_owner, give_up, list_made, list_swept, open_log
from sockd.sockets.inherit import Inherited
from sockd.sockets.notify import Notifier, taken_from
from sockd.sockets.store import Store
from sockd.telemetry.logs import Log


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a daemon that do not depend on its role.

    Attributes:
        config: what to serve.
        options: twistd's.
        reactor: the one that will run.
        fallback: why that is not the fast one; empty if it is.
        owner: the user and group that twistd changes to; None if it does not.
        estate: files and sockets that become the owner's.
        launch: detaches the process, and reports to whoever has started it.
        log: where events go; None where twistd's own options say how.
        manager: the service manager's variables of the environment.
        notifier: the way to the service manager.
        store: keeps sockets over a restart.
    """

    config: Config
    options: ServerOptions
    reactor: Any
    fallback: str
    owner: Owner | None
    estate: Estate
    launch: Launch
    log: Log | None
    manager: Mapping[str, str]
    notifier: Notifier
    store: Store

    def daemon(self, role: Role, source: Source | None) -> DaemonProcess:
        """Return the daemon in a role."""
        return DaemonProcess(role, self.reactor, self.log, source, self.notifier, self.store, self.launch)


def gather(
    config: Config,
    options: ServerOptions,
    launch: Launch | None = None,
    manager: Mapping[str, str] | None = None,
) -> Parts:
    """Lock the pid file, open the log, and find out what twistd and the service manager ask for.

    Ends the process, with the reason on standard error, if that fails.

    Args:
        config: what to serve.
        options: twistd's.
        launch: that of a former image of this process, if there was one.
        manager: the service manager's variables, where a former image has taken them out of the environment.
    """
    reactor, fallback = install_reactor()
    owner, estate = find_owner(options), Estate(list_made(config, options), config.daemon.state_dir)
    launch = launch or begin_launch(options)
    log = None if options["syslog"] or options["logger"] else open_log(config, options)
    manager = manager or taken_from(os.environ)
    notifier = Notifier.from_environment(manager)
    store = Store(Inherited.from_environment(manager), notifier, manager)
    return Parts(config, options, reactor, fallback, owner, estate, launch, log, manager, notifier, store)


def bind(daemon: DaemonProcess, parts: Parts, operator: Operator) -> None:
    """Open every socket of a daemon, and give the user whom it becomes what was made for it.

    Ends the process, with every reason on standard error, if one cannot be opened.
    """
    config, owner = parts.config, parts.owner
    parts.store.prepare(config)
    try:
        daemon.role.bind()
        daemon.own_ports = open_own_ports(
            config,
            operator,
            operator.status,
            parts.reactor,
            parts.store.open_socket,
            owner.user if owner else None,
        )
    except ConfigError as error:
        give_up(report(error.faults))
    except ExceptionGroup as group:
        give_up(*(f"sockd: {error}" for error in group.exceptions))
    except BindError as error:  # of an own port; the services have been opened before
        daemon.role.release()
        give_up(f"sockd: {error}")
    if owner is not None:
        parts.estate.hand_over(owner)
        parts.launch.sweeps = list_swept(config, parts.options, parts.manager)
