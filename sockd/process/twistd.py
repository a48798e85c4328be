"""Options of twistd for a daemon: user, log, pid file, the background."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from twisted.scripts._twistd_unix import ServerOptions

from sockd.config import Config
from sockd.endpoint import UnixEndpoint
from sockd.process.launch import Launch
from sockd.process.ownership import Owner
from sockd.process.pidfile import PidFile, PidFileError
from sockd.telemetry import logs
from sockd.text import describe_os_error


def settle(options: ServerOptions) -> None:
    """Take over from twistd what sockd does in another way: the pid file, and the way into the background."""
    background = not (options["nodaemon"] or options["debug"])
    # In the foreground nobody needs a pid file, and a stale one would only be in the way.
    named = options["pidfile"] if background or options["pidfile"] != "twistd.pid" else ""
    options.update(
        background=background, nodaemon=True, pidfile="", pid_file=os.path.abspath(named) if named else ""
    )
    if background and options["logfile"] == "-":
        give_up("sockd: in the background nobody reads standard output: name a file with --logfile")
    if (root := options["chroot"]) is None and not os.path.isdir(options["rundir"]):
        give_up(f"sockd: there is no folder {options['rundir']} (--rundir)")
    if root is not None and (os.geteuid() or not os.path.isdir(root)):
        give_up(f"sockd: cannot go to {root} (--chroot): {'only root can' if os.geteuid() else 'no folder'}")


def begin_launch(options: ServerOptions) -> Launch:
    """Lock the pid file, and return the launch that twistd's options ask for."""
    try:
        pid_file = PidFile.take(Path(name)) if (name := options.get("pid_file")) else None
    except PidFileError as error:
        give_up(f"sockd: {error}")
    return Launch(pid_file, background=options.get("background", False), umask=options["umask"])


def find_owner(options: ServerOptions) -> Owner | None:
    """Return the user and the group that twistd changes to; None if it does not."""
    user, group = options["uid"], options["gid"]
    if user is None and group is None:
        return None
    if os.geteuid():
        give_up("sockd: only root can change to another user or group (--uid, --gid)")
    if user is None:
        return Owner(0, group)
    try:
        entry = pwd.getpwuid(user)
    except KeyError:  # whose groups nobody knows
        give_up(f"sockd: there is no user with the number {user} (--uid)")
    return Owner(user, entry.pw_gid if group is None else group)


def list_made(config: Config, options: ServerOptions) -> Iterator[Path]:
    """Yield the files and sockets that are made before the change of user."""
    yield from _sockets(config)
    if (log := log_path(config, options)) != "-":
        yield Path(log)
    if name := options.get("pid_file"):
        yield Path(name)


def list_swept(config: Config, options: ServerOptions, manager: Mapping[str, str]) -> list[Path]:
    """Return the paths among them to remove at the end, without sockets that the service manager keeps."""
    kept = manager.get("FDSTORE", "0") not in ("", "0")
    name = options.get("pid_file")
    return [*([] if kept else _sockets(config)), *([Path(name)] if name else [])]


def _sockets(config: Config) -> Iterator[Path]:
    endpoints = [listener.endpoint for each in config.services.values() for listener in each.listen]
    for endpoint in (*endpoints, config.control.listen, config.metrics.listen):
        if isinstance(endpoint, UnixEndpoint):
            yield endpoint.path


def open_log(config: Config, options: ServerOptions) -> logs.Log:
    """Open the log: twistd's --logfile, else the configured file, else the terminal or twistd.log."""
    log_file = log_path(config, options)
    if log_file == "-":
        stream = sys.stdout
    else:
        try:
            stream = logs.open_file(Path(log_file))
        except OSError as error:
            give_up(f"sockd: cannot write the log {log_file}: {describe_os_error(error)}")
    return logs.observer(stream, config.log.format, config.log.level)


def log_path(config: Config, options: ServerOptions) -> str:
    """Return the path of the log, absolute as a daemon leaves its folder, or `-`."""
    usual = "twistd.log" if options.get("background") else "-"
    name = str(options["logfile"] or config.log.file or usual)
    return name if name == "-" else str(Path(name).absolute())


def give_up(*complaints: str) -> NoReturn:
    """Write the reasons to standard error, and end with exit code 1."""
    print("\n".join(complaints), file=sys.stderr)
    sys.exit(1)
