"""What twistd runs: `twistd sockd`, and the same in the foreground for the `sockd` command.

The one place that imports the reactor, and the one that changes the process: signals, limits, exit codes.
"""

from __future__ import annotations

import os
import pwd
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from twisted.application import reactors, service
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner
from typing_extensions import override

from sockd import discovery
from sockd.cli.options import NOWHERE, PLACES, VARIABLE, usual_file
from sockd.config import Config, Source, report
from sockd.config.faults import render
from sockd.control.local import LocalOperator
from sockd.daemon import HURRY, Daemon
from sockd.doors import open_doors
from sockd.endpoint import UnixEndpoint
from sockd.errors import BindError, ConfigError
from sockd.inherited import Inherited
from sockd.launch import Launch
from sockd.notify import Notifier, taken_from
from sockd.ownership import Estate, Owner
from sockd.pidfile import PidFile, PidFileError
from sockd.reading import absolute
from sockd.server import Server
from sockd.service import PLUGIN_STOP_TIMEOUT
from sockd.store import Store
from sockd.telemetry import logs


class Options(usage.Options):
    """`twistd sockd -c FILE`."""

    synopsis = "[-c FILE]"
    longdesc = "Serves every service of one TOML file. `sockd check` says what is wrong with it."
    optParameters = (  # noqa: N815  # Twisted's name
        ("config", "c", None, f"The configuration file; without it ${VARIABLE}, or {', '.join(PLACES)}."),
    )

    parent: ServerOptions

    @override
    def postOptions(self) -> None:
        _settle(self.parent)
        path = Path(self["config"]) if self["config"] else usual_file()
        if path is None:
            raise usage.UsageError(NOWHERE)
        self.loaded = loaded(path)
        self.source = source(path)


def makeService(options: Options) -> service.IService:
    """The daemon, with every socket open. Called by twistd before it detaches and sheds privileges."""
    return _daemon(options.loaded, options.source, options.parent)


def run(config: Config, source: Source | None = None) -> NoReturn:
    """Serve a configuration in the foreground, as `twistd -n sockd` does.

    Args:
        config: what to serve.
        source: the file that it stands in, for a reload; None where there is none.
    """
    options = ServerOptions()
    options.parseOptions(["--nodaemon", "--no_save", "--pidfile="])
    _Foreground(options, config, source).run()
    sys.exit(0)


class _Foreground(UnixApplicationRunner):
    """twistd's own runner, given the configuration instead of a command line."""

    def __init__(self, options: ServerOptions, config: Config, source: Source | None) -> None:
        super().__init__(options)
        self._sockd = config, source

    @override
    def createOrGetApplication(self) -> Any:
        application = service.Application("sockd")
        _daemon(*self._sockd, self.config).setServiceParent(application)
        return application


def source(path: Path) -> Source:
    """The configuration in `path`, wherever the process goes."""
    return Source(absolute(path), discovery.find)


def loaded(path: Path) -> Config:
    """The configuration in `path`; ends the process with every fault of it otherwise.

    If workers are to serve it, what only plugins know of it is left to them.
    """
    with suppress(ConfigError):
        bare = Source(path, None).load()
        if bare.daemon.workers:
            return bare
    try:
        return Source(path, discovery.find).load()
    except ConfigError as error:
        _give_up("\n\n".join(render(fault) for fault in error.faults))


def install_reactor(name: str = "") -> tuple[Any, str]:
    """The reactor of this process, and why it is not the fast one.

    Args:
        name: one of twistd's; without it, it is the fast one, unless there is one already.
    """
    if name:
        reactors.installReactor(name)
    fallback = _install_fast_reactor()
    from twisted.internet import reactor

    # Deadlines must not follow steps of the wall clock; nothing has been scheduled yet. What is served may
    # take the time of day from the reactor all the same, so it begins there.
    begun = time.time() - time.monotonic()
    reactor.seconds = lambda: begun + time.monotonic()  # type: ignore[method-assign]
    _raise_descriptor_limit()
    return reactor, fallback


def _daemon(config: Config, source: Source | None, options: ServerOptions) -> service.Service:
    if config.daemon.workers and source is not None:
        return supervised(config, Source(source.path, None), options)
    reactor, fallback = install_reactor()
    owner, estate = _owner(options), Estate(_made(config, options), config.daemon.state_dir)
    launch = _launch(options)
    log = None if options["syslog"] or options["logger"] else _log(config, options)
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
        _give_up(*(f"sockd: {error}" for error in group.exceptions))
    except BindError as error:  # of a door; the services have been opened before
        server.release()
        _give_up(f"sockd: {error}")
    if owner is not None:
        estate.hand_over(owner)
        launch.sweeps = _swept(config, options, manager)
    return daemon


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
    from sockd.supervisor.daemon import SupervisorDaemon
    from sockd.supervisor.supervisor import About, Supervisor

    reactor, _ = install_reactor()
    owner, estate = _owner(options), Estate(_made(config, options), config.daemon.state_dir)
    launch = _launch(options) if handed is None else _resumed(handed)
    own = options["syslog"] or options["logger"]
    log = None if own else _log(config, options)
    chosen = options.get("reactor")
    about = About(
        None if own else _log_file(config, options),
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
        _give_up(report(error.faults))
    except ExceptionGroup as group:
        _give_up(*(f"sockd: {error}" for error in group.exceptions))
    except BindError as error:  # of a door; the services have been opened before
        supervisor.release()
        _give_up(f"sockd: {error}")
    if owner is not None:
        estate.hand_over(owner)
        launch.sweeps = _swept(config, options, manager)
    return daemon


def _settle(options: ServerOptions) -> None:
    """Take over from twistd what it does in another way: its pid file, and the way into the background."""
    background = not (options["nodaemon"] or options["debug"])
    # In the foreground nobody needs a pid file, and a stale one would only be in the way.
    named = options["pidfile"] if background or options["pidfile"] != "twistd.pid" else ""
    options.update(
        background=background, nodaemon=True, pidfile="", pid_file=os.path.abspath(named) if named else ""
    )
    if background and options["logfile"] == "-":
        _give_up("sockd: in the background nobody reads standard output: name a file with --logfile")
    if (root := options["chroot"]) is None and not os.path.isdir(options["rundir"]):
        _give_up(f"sockd: there is no folder {options['rundir']} (--rundir)")
    if root is not None and (os.geteuid() or not os.path.isdir(root)):
        _give_up(f"sockd: cannot go to {root} (--chroot): {'only root can' if os.geteuid() else 'no folder'}")


def _launch(options: ServerOptions) -> Launch:
    """The way into service that twistd's options ask for, with the pid file locked."""
    try:
        pid_file = PidFile.take(Path(name)) if (name := options.get("pid_file")) else None
    except PidFileError as error:
        _give_up(f"sockd: {error}")
    return Launch(pid_file, background=options.get("background", False), umask=options["umask"])


def _resumed(handed: Mapping[str, Any]) -> Launch:
    """The same for an image that takes the place of a former one."""
    path, descriptor = handed.get("pid_file") or ("", -1)  # an older image has handed none over
    launch = Launch(PidFile(Path(path), descriptor) if path else None)
    launch.sweeper = handed.get("sweeper")
    return launch


def _owner(options: ServerOptions) -> Owner | None:
    """The user and the group that twistd changes to; None if it does not."""
    user, group = options["uid"], options["gid"]
    if user is None and group is None:
        return None
    if os.geteuid():
        _give_up("sockd: only root can change to another user or group (--uid, --gid)")
    if user is None:
        return Owner(0, group)
    try:
        entry = pwd.getpwuid(user)
    except KeyError:  # whose groups nobody knows
        _give_up(f"sockd: there is no user with the number {user} (--uid)")
    return Owner(user, entry.pw_gid if group is None else group)


def _made(config: Config, options: ServerOptions) -> Iterator[Path]:
    """The files and sockets that are made before the change of user."""
    yield from _sockets(config)
    if (log := _log_file(config, options)) != "-":
        yield Path(log)
    if name := options.get("pid_file"):
        yield Path(name)


def _swept(config: Config, options: ServerOptions, manager: Mapping[str, str]) -> list[Path]:
    """The paths among them to remove at the end, without sockets that the service manager keeps."""
    kept = manager.get("FDSTORE", "0") not in ("", "0")
    name = options.get("pid_file")
    return [*([] if kept else _sockets(config)), *([Path(name)] if name else [])]


def _sockets(config: Config) -> Iterator[Path]:
    endpoints = [listener.endpoint for each in config.services.values() for listener in each.listen]
    for endpoint in (*endpoints, config.control.listen, config.metrics.listen):
        if isinstance(endpoint, UnixEndpoint):
            yield endpoint.path


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


def _install_fast_reactor() -> str:
    """Install sockd's own reactor, unless one is there already; returns why it cannot be installed."""
    if "twisted.internet.reactor" in sys.modules:  # --reactor, or another plugin of twistd
        return ""
    from sockd import uvreactor

    reason = uvreactor.unavailable()
    if not reason:
        uvreactor.install()
    return reason


def _log(config: Config, options: ServerOptions) -> logs.Log:
    """Where the log goes: twistd's --logfile, else the configured file, else the terminal or twistd.log."""
    log_file = _log_file(config, options)
    if log_file == "-":
        stream = sys.stdout
    else:
        try:
            stream = logs.open_file(Path(log_file))
        except OSError as error:
            _give_up(f"sockd: cannot write the log {log_file}: {(error.strerror or str(error)).lower()}")
    return logs.observer(stream, config.log.format, config.log.level)


def _log_file(config: Config, options: ServerOptions) -> str:
    """Its path, absolute as a daemon leaves its folder, or `-`."""
    usual = "twistd.log" if options.get("background") else "-"
    name = str(options["logfile"] or config.log.file or usual)
    return name if name == "-" else str(Path(name).absolute())


def _raise_descriptor_limit() -> None:
    """Use all the descriptors that the process may have; many systems start it with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _give_up(*complaints: str) -> NoReturn:
    print("\n".join(complaints), file=sys.stderr)
    sys.exit(1)
