"""Next image of the supervisor, in place of the former: `successor DESCRIPTOR [trial]`.

With `trial` it does everything up to serving, in a process of its own; its complaints are on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from twisted.application import app, service
from twisted.scripts._twistd_unix import ServerOptions, UnixApplicationRunner
from typing_extensions import override

from sockd import discovery
from sockd.config import Config, Source, report
from sockd.config.texts import load_texts
from sockd.errors import ConfigError
from sockd.ipc.child import die_with_parent
from sockd.supervisor.assembly import supervised
from sockd.supervisor.handover import Handover, OtherForm


class _Successor(UnixApplicationRunner):
    """twistd's own runner in a process that is where it has to be: detached, in its folder, with its user."""

    def __init__(self, options: ServerOptions, daemon: service.Service) -> None:
        super().__init__(options)
        self._sockd = daemon

    @override
    def preApplication(self) -> None:
        self.oldstdout, self.oldstderr = sys.stdout, sys.stderr

    @override
    def createOrGetApplication(self) -> Any:
        application = service.Application("sockd")
        self._sockd.setServiceParent(application)
        return application

    @override
    def startApplication(self, application: Any) -> None:
        app.startApplication(application, save=False)


def main() -> NoReturn:
    """Run the process."""
    descriptor, *trial = sys.argv[1:]
    if trial:
        die_with_parent()
    try:
        handed = Handover.read(int(descriptor)).state
        sys.path[:] = handed["path"]
        options = ServerOptions()
        options.parseOptions(handed["twistd"])
        config = _config(handed["supervisor"])
        source = Source(Path(handed["supervisor"]["source"]), None)
        daemon = supervised(config, source, options, handed)
        if trial:
            load_texts(handed["supervisor"]["texts"], discovery.find)
            os._exit(0)  # nothing of what it shares with the supervisor is closed in order
    except ConfigError as error:
        sys.exit(report(error.faults))
    except OtherForm as error:
        sys.exit(str(error))
    except Exception as error:  # whatever the new code cannot do, the old one has to tell why
        if not trial:
            raise
        sys.exit(f"the new code fails while it is tried: {type(error).__name__}: {error}")
    _Successor(options, daemon).run()
    sys.exit(0)


def _config(handed: Mapping[str, Any]) -> Config:
    """Return the configuration that the former image served, whatever the file says now."""
    config = load_texts(handed["texts"], None)
    return replace(config, daemon=config.daemon.model_copy(update={"include": tuple(handed["include"])}))


if __name__ == "__main__":
    main()
