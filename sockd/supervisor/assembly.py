"""Builds the parent of workers from the configuration and the options of twistd."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config, SocketOptions, Source
from sockd.control.operator import Operator
from sockd.control.own_ports import METRICS, OwnPort, own_ports_on
from sockd.process.assembly import Parts, bind, gather
from sockd.process.daemon import DaemonProcess
from sockd.process.launch import Launch
from sockd.process.pidfile import PidFile
from sockd.process.twistd import log_path
from sockd.supervisor.handover import socket_from_json
from sockd.supervisor.operator import CrewOperator
from sockd.supervisor.role import SupervisingRole
from sockd.supervisor.supervisor import Supervisor, WorkerSettings


def supervised(
    config: Config, source: Source, options: ServerOptions, handed: Mapping[str, Any] | None = None
) -> DaemonProcess:
    """Return the parent of workers, with every socket open.

    Args:
        config: what to serve.
        source: its file.
        options: twistd's.
        handed: the state that a former image of this process has left; None if there was none.
    """
    if handed is None:
        parts = gather(config, options)
    else:
        parts = gather(config, options, _resumed_launch(handed), handed.get("manager"))
    chosen = options.get("reactor")
    settings = WorkerSettings(
        None if parts.log is None else log_path(config, options),
        shed=options["uid"] is not None,
        options=[chosen] if chosen else [],
    )
    supervisor = Supervisor(
        config, source, parts.reactor, parts.store, settings, handed and handed["supervisor"]
    )
    twistd = partial(_words, options, settings.log)
    role = SupervisingRole(supervisor, parts.reactor, parts.log, parts.store, twistd, parts.manager, handed)
    daemon = parts.daemon(role, source)
    supervisor.crew.changed = parts.notifier.changed
    operator = CrewOperator(supervisor, daemon, role.set_log_level, parts.reactor)
    if handed is None:
        bind(daemon, parts, operator)
    else:
        supervisor.past = handed["past"]
        daemon.resume(
            _resumed_ports(handed, parts, operator),
            handed["stamp"],
            config_ok=handed["supervisor"]["config_ok"],
            reload_due=handed["reload_due"],
        )
    return daemon


def _resumed_launch(handed: Mapping[str, Any]) -> Launch:
    path, descriptor = handed.get("pid_file") or ("", -1)  # an older image has handed none over
    launch = Launch(PidFile(Path(path), descriptor) if path else None)
    launch.sweeper = handed.get("sweeper")
    return launch


def _resumed_ports(handed: Mapping[str, Any], parts: Parts, operator: Operator) -> list[OwnPort]:
    bounds = {name: socket_from_json(*bound) for name, bound in handed["doors"].items()}
    if METRICS in bounds:
        bounds[METRICS] = parts.store.resume(bounds[METRICS], SocketOptions())
    return own_ports_on(bounds, operator, operator.status, parts.reactor, parts.config.metrics.hosts)


def _words(options: ServerOptions, log_file: str | None) -> list[str]:
    """Return twistd's command line for another image of this process, which is where it has to be already."""
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
