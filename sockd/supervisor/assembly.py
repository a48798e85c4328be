"""Builds the parent of workers from the configuration and the options of twistd."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application import service
from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config, Source, report
from sockd.control.doors import open_doors
from sockd.errors import BindError, ConfigError
from sockd.process.launch import Launch
from sockd.process.ownership import Estate
from sockd.process.pidfile import PidFile
from sockd.process.reactor import install_reactor
from sockd.process.twistd import begin_launch, find_owner, give_up, list_made, list_swept, log_path, open_log
from sockd.sockets.inherit import Inherited
from sockd.sockets.notify import Notifier, taken_from
from sockd.sockets.store import Store
from sockd.supervisor.daemon import SupervisorDaemon
from sockd.supervisor.supervisor import About, Supervisor


def supervised(
    config: Config, source: Source, options: ServerOptions, handed: Mapping[str, Any] | None = None
) -> service.Service:
    """The parent of workers, with every socket open.

    Args:
        config: what to serve.
        source: its file.
        options: twistd's.
        handed: what a former image of this process has left, if there was one.
    """
    reactor, _ = install_reactor()
    owner, estate = find_owner(options), Estate(list_made(config, options), config.daemon.state_dir)
    launch = begin_launch(options) if handed is None else _resumed(handed)
    own = options["syslog"] or options["logger"]
    log = None if own else open_log(config, options)
    chosen = options.get("reactor")
    about = About(
        None if own else log_path(config, options),
        shed=options["uid"] is not None,
        options=[chosen] if chosen else [],
    )
    # A former image has left them out of the environment, unless it is an older one.
    manager = (handed or {}).get("manager") or taken_from(os.environ)
    notifier = Notifier.from_environment(manager)
    store = Store(Inherited.from_environment(manager), notifier, manager)
    supervisor = Supervisor(config, source, reactor, store, about, handed and handed["supervisor"])
    twistd = partial(_words, options, about.log)
    daemon = SupervisorDaemon(supervisor, reactor, log, notifier, store, twistd, launch, manager, handed)
    if handed is not None:
        return daemon
    operator = daemon.operator
    store.prepare(config)
    try:
        supervisor.bind()
        daemon.doors = open_doors(
            config, operator, operator.status, reactor, store.open_socket, owner.user if owner else None
        )
    except ConfigError as error:
        give_up(report(error.faults))
    except ExceptionGroup as group:
        give_up(*(f"sockd: {error}" for error in group.exceptions))
    except BindError as error:  # of a door; the services have been opened before
        supervisor.release()
        give_up(f"sockd: {error}")
    if owner is not None:
        estate.hand_over(owner)
        launch.sweeps = list_swept(config, options, manager)
    return daemon


def _resumed(handed: Mapping[str, Any]) -> Launch:
    """The same for an image that takes the place of a former one."""
    path, descriptor = handed.get("pid_file") or ("", -1)  # an older image has handed none over
    launch = Launch(PidFile(Path(path), descriptor) if path else None)
    launch.sweeper = handed.get("sweeper")
    return launch


def _words(options: ServerOptions, log_file: str | None) -> list[str]:
    """The command line of twistd for another image of this process, which is where it has to be already."""
    pid_file, observer = options["pidfile"], options["logger"]
    given = {
        "pidfile": os.path.abspath(pid_file) if pid_file else "",
        "logfile": log_file,
        "logger": observer and f"{observer.__module__}.{observer.__qualname__}",
        "prefix": options["prefix"],
        "reactor": options.get("reactor"),
    }
    flags = [f"--{flag}" for flag in ("nodaemon", "syslog") if options[flag]]
    return ["--no_save", *flags, *(f"--{key}={value}" for key, value in given.items() if value is not None)]
