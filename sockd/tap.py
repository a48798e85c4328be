"""What twistd runs: `twistd sockd`, and the same in the foreground for the `sockd` command.

The one place that imports the reactor, and the one that changes the process: signals, limits, exit codes.
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner
from typing_extensions import override

from sockd import discovery
from sockd.config import Config, load
from sockd.config.faults import render
from sockd.errors import ConfigError
from sockd.server import PLUGIN_STOP_TIMEOUT, Server
from sockd.telemetry import logs

HURRY = 1
"""Seconds that the daemon has after a second signal, before the kernel ends it."""


GC_YOUNG = 10_000
"""New objects between two looks for garbage in cycles; connections that are over leave none behind."""


class Options(usage.Options):
    """`twistd sockd -c FILE`."""

    synopsis = "[-c FILE]"
    longdesc = "Serves every service of one TOML file. `sockd check` says what is wrong with it."
    optParameters = (("config", "c", "sockd.toml", "The configuration file."),)  # noqa: N815  # Twisted's name

    parent: ServerOptions

    @override
    def postOptions(self) -> None:
        self.loaded = loaded(Path(self["config"]))
        # In the foreground nobody needs a pid file, and a stale one would only be in the way.
        if self.parent["nodaemon"] and self.parent["pidfile"] == "twistd.pid":
            self.parent["pidfile"] = ""


def makeService(options: Options) -> service.IService:
    """The daemon, with every socket open. Called by twistd before it detaches and sheds privileges."""
    return _daemon(options.loaded, options.parent)


def run(config: Config) -> NoReturn:
    """Serve a configuration in the foreground, as `twistd -n sockd` does."""
    options = ServerOptions()
    options.parseOptions(["--nodaemon", "--no_save", "--pidfile="])
    _Foreground(options, config).run()
    sys.exit(0)


class _Foreground(UnixApplicationRunner):
    """twistd's own runner, given the configuration instead of a command line."""

    def __init__(self, options: ServerOptions, config: Config) -> None:
        super().__init__(options)
        self._sockd_config = config

    @override
    def createOrGetApplication(self) -> Any:
        application = service.Application("sockd")
        _daemon(self._sockd_config, self.config).setServiceParent(application)
        return application


def loaded(path: Path) -> Config:
    """The configuration in `path`; ends the process with every fault of it otherwise."""
    try:
        return load(path, discovery.find)
    except ConfigError as error:
        _give_up("\n\n".join(render(fault) for fault in error.faults))


def _daemon(config: Config, options: ServerOptions) -> Daemon:
    fallback = _install_fast_reactor()
    from twisted.internet import reactor

    # Deadlines must not follow steps of the wall clock; nothing has been scheduled yet. What is served may
    # take the time of day from the reactor all the same, so it begins there.
    begun = time.time() - time.monotonic()
    reactor.seconds = lambda: begun + time.monotonic()  # type: ignore[method-assign]
    _raise_descriptor_limit()
    observer = None if options["syslog"] or options["logger"] else _log_observer(config, options)
    server = Server(config, reactor, fallback)
    try:
        server.bind()
    except ExceptionGroup as group:
        _give_up(*(f"sockd: {error}" for error in group.exceptions))
    stop_within = config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT * len(server.services) + HURRY
    return Daemon(server, reactor, observer, stop_within, foreground=options["nodaemon"])


def _install_fast_reactor() -> str:
    """Install sockd's own reactor, unless one is there already; returns why it cannot be installed."""
    if "twisted.internet.reactor" in sys.modules:  # --reactor, or another plugin of twistd
        return ""
    from sockd import uvreactor

    reason = uvreactor.unavailable()
    if not reason:
        uvreactor.install()
    return reason


class Daemon(service.Service):
    """The server as twistd sees it.

    Args:
        server: with its sockets open.
        reactor: the one that will run.
        observer: writes the log; None where twistd's own options say how.
        stop_within: seconds after a signal by which the process has ended, whatever happens.
        foreground: whether twistd stays where it was started.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        observer: ILogObserver | None,
        stop_within: float,
        *,
        foreground: bool,
    ) -> None:
        self._server = server
        self._reactor = reactor
        self._observer = observer
        self._stop_within = stop_within
        self._foreground = foreground
        self._told_to_stop = False
        # Until everything is open there is somebody to complain to, even after twistd has detached.
        self._complaints = open(os.dup(2), "w")  # noqa: SIM115  # closed when the daemon is ready

    @override
    def setServiceParent(self, parent: Any) -> None:
        # twistd asks the application for its log observer before it starts the services.
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    @override
    def startService(self) -> None:
        super().startService()
        failures: list[Failure] = []
        starting = Deferred.fromCoroutine(self._server.start()).addErrback(failures.append)
        if failures:
            self._refuse(failures[0])
        self._reactor.callWhenRunning(self._when_running, starting, failures)

    def _refuse(self, failure: Failure) -> NoReturn:
        """End while twistd can still report that nothing was started."""
        self._complain(failure)
        self._server.release()
        if self._foreground:
            sys.exit(1)
        failure.raiseException()

    def _when_running(self, starting: Deferred[None], failures: list[Failure]) -> None:
        # The reactor has installed its own handlers, which would exit with the signal's code.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        starting.addCallback(lambda _: self._started(failures)).addErrback(self._fail)

    def _started(self, failures: list[Failure]) -> None:
        if failures:
            self._fail(failures[0])
        elif self.running:
            self._server.open()
            self._complaints.close()
            _settle_memory()

    def _fail(self, failure: Failure) -> None:
        """End a daemon that runs but cannot serve."""
        self._complain(failure)
        # twistd itself would exit with 0; handlers run in reverse order, so this is the last thing of all.
        atexit.register(os._exit, 1)
        _end_within(self._stop_within)
        self._reactor.stop()

    def _complain(self, failure: Failure) -> None:
        print(f"sockd: {failure.getErrorMessage()}", file=self._complaints, flush=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as signal calls it
        """Stop in order at the first signal, hurry at each that follows."""
        again, self._told_to_stop = self._told_to_stop, True
        _end_within(HURRY if again else self._stop_within)
        self._reactor.callFromThread(self._server.hurry if again else self._reactor.stop)

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._server.stop())


def _end_within(seconds: float) -> None:
    """Let the kernel end the process: nothing that a plugin does can prevent it, as it needs no reactor."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _log_observer(config: Config, options: ServerOptions) -> ILogObserver:
    """Where the log goes: twistd's --logfile, else the configured file, else the terminal or twistd.log."""
    log_file = options["logfile"] or config.log.file or ("-" if options["nodaemon"] else "twistd.log")
    if str(log_file) == "-":
        stream = sys.stdout
    else:
        try:
            stream = logs.open_file(Path(log_file))
        except OSError as error:
            _give_up(f"sockd: cannot write the log {log_file}: {(error.strerror or str(error)).lower()}")
    return logs.observer(stream, config.log.format, config.log.level)


def _settle_memory() -> None:
    """Spare the garbage collector what stays to the end: a tenth of what a short connection costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 50)


def _raise_descriptor_limit() -> None:
    """Use all the descriptors that the process may have; many systems start it with 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _give_up(*complaints: str) -> NoReturn:
    print("\n".join(complaints), file=sys.stderr)
    sys.exit(1)
