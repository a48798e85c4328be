"""Process that has loaded sockd's code and forks a daemon for each line of its input.

A daemon starts in a tenth of the time so. Everything else is as `sockd run` does it; the reactor is made in
the child. Input: `start FOLDER`, answered with the process's id; `wait`, answered with its status.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.crash.daemon import CONFIGURATION, LOG

_LOADED = ("sockd.tap", "sockd.serving.assembly", "sockd.uvreactor", "twisted.internet.threads")


def _serve(folder: str) -> None:
    """Be the daemon of a folder."""
    from sockd import tap

    os.chdir(folder)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.argv = ["sockd", "run", "-c", CONFIGURATION]
    path = Path(CONFIGURATION)
    tap.run(tap.loaded(path), tap.source(path))


def main() -> None:
    """Fork daemons until the input ends."""
    for name in _LOADED:
        import_module(name)
    for entry in entry_points(group="sockd.plugins"):
        if entry.name == "files":
            entry.load()
    if "twisted.internet.reactor" in sys.modules:
        sys.exit("a reactor must not be shared by several processes")
    child = 0
    for line in sys.stdin:
        word, _, folder = line.rstrip("\n").partition(" ")
        if word == "start":
            child = os.fork()
            if child == 0:
                _serve(folder)
                os._exit(0)
            print(child, flush=True)  # noqa: T201
        else:
            print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
