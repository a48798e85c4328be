"""Entry point of twistd: `twistd sockd`, and the same in the foreground for the `sockd` command.

Reads the options and the configuration, and chooses between one process that serves and a parent of workers.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from twisted.application import service
from twisted.python import usage
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner
from typing_extensions import override

from sockd import discovery
from sockd.config import Config, Source
from sockd.config.faults import render
from sockd.errors import ConfigError
from sockd.process.places import NOWHERE, PLACES, VARIABLE, usual_file
from sockd.process.twistd import give_up, settle
from sockd.reading import absolute


class Options(usage.Options):
    """Options of `twistd sockd -c FILE`."""

    synopsis = "[-c FILE]"
    longdesc = "Serves every service of one TOML file. `sockd check` says what is wrong with it."
    optParameters = (  # noqa: N815  # Twisted's name
        ("config", "c", None, f"The configuration file; without it ${VARIABLE}, or {', '.join(PLACES)}."),
    )

    parent: ServerOptions

    @override
    def postOptions(self) -> None:
        settle(self.parent)
        path = Path(self["config"]) if self["config"] else usual_file()
        if path is None:
            raise usage.UsageError(NOWHERE)
        self.loaded = loaded(path)
        self.source = source(path)


def makeService(options: Options) -> service.IService:
    """Return the daemon with every socket open. twistd calls it before it detaches and changes the user."""
    return choose_role(options.loaded, options.source, options.parent)


def run(config: Config, source: Source | None = None) -> NoReturn:
    """Serve a configuration in the foreground, as `twistd -n sockd` does.

    Args:
        config: configuration to serve.
        source: its file, for a reload; None without a file.
    """
    options = ServerOptions()
    options.parseOptions(["--nodaemon", "--no_save", "--pidfile="])
    _Foreground(options, config, source).run()
    sys.exit(0)


def choose_role(config: Config, source: Source | None, options: ServerOptions) -> service.Service:
    """Return the daemon that serves, or that supervises workers if the configuration asks for them."""
    # Each role loads its own half of the code: a supervisor holds no line that reads a byte of a peer.
    if config.daemon.workers and source is not None:
        from sockd.supervisor.assembly import supervised

        return supervised(config, Source(source.path, None), options)
    from sockd.serving.assembly import serving

    return serving(config, source, options)


class _Foreground(UnixApplicationRunner):
    """Runner of twistd with a configuration instead of a command line."""

    def __init__(self, options: ServerOptions, config: Config, source: Source | None) -> None:
        super().__init__(options)
        self._sockd = config, source

    @override
    def createOrGetApplication(self) -> Any:
        application = service.Application("sockd")
        choose_role(*self._sockd, self.config).setServiceParent(application)
        return application


def source(path: Path) -> Source:
    """Return the source of the configuration in `path`, which stays valid when the current folder changes."""
    return Source(absolute(path), discovery.find)


def loaded(path: Path) -> Config:
    """Return the configuration in `path`, or end the process with all of its faults.

    With workers, the options of plugins are left to the workers.
    """
    with suppress(ConfigError):
        bare = Source(path, None).load()
        if bare.daemon.workers:
            return bare
    try:
        return Source(path, discovery.find).load()
    except ConfigError as error:
        give_up("\n\n".join(render(fault) for fault in error.faults))
