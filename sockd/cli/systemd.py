"""`sockd systemd`: make the units for a configuration, with the fewest rights that it needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sockd.cli.options import config_file
from sockd.cli.place import Place, command, normal, version
from sockd.endpoint import Endpoint, InetEndpoint, SystemdEndpoint, UnixEndpoint

if TYPE_CHECKING:
    from sockd.config import Config, Listener

UNIT_FOLDER = Path("/etc/systemd/system")

PRIVILEGED = 1024
"""Port below which a capability is needed."""

NOTIFY_RELOAD = 253
"""Version of systemd from which on a unit can report the end of its reload."""

STOP_MARGIN = 10
"""Seconds after drain_timeout for the plugins to stop; then systemd kills the daemon."""

_MADE_BY_SYSTEMD = {
    "RuntimeDirectory": Path("/run"),
    "StateDirectory": Path("/var/lib"),
    "LogsDirectory": Path("/var/log"),
}
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # compared, not written to

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_YES = {True: "yes", False: "no"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@click.command()
@config_file
@click.option("--user", default="sockd", show_default=True, help="User that the daemon runs as.")
@click.option("--socket-activation", is_flag=True, help="Let systemd open the sockets: a unit for each.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Write the units into this folder, such as {UNIT_FOLDER}.",
)
def systemd(path: Path, user: str, socket_activation: bool, output: Path | None) -> None:
    """Print the systemd units for a configuration.

    The service gets the rights that this configuration needs, and no others. Comments in it give the reasons,
    and what to do before the first start. Run this again after a change of ports or folders.
    """
    from sockd import discovery
    from sockd.config import load, report
    from sockd.errors import ConfigError

    if not _USER.fullmatch(user):
        raise click.BadParameter(f"expected the name of a user, found {user!r}", param_hint="--user")
    try:
        config = load(path, discovery.find)
    except ConfigError as error:
        click.echo(report(error.faults), err=True)
        raise SystemExit(1) from None
    python = Path(sys.base_prefix)
    place = Place(
        normal(command()), python, normal(path.absolute()), user, notify_reload=version() >= NOTIFY_RELOAD
    )
    made = units(config, place, socket_activation=socket_activation)
    if output is None:
        click.echo("\n".join(f"# {UNIT_FOLDER / name}\n{text}" for name, text in made.items()), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (output / name).write_text(text)
        click.echo(output / name)


def units(config: Config, place: Place, *, socket_activation: bool = False) -> Mapping[str, str]:
    """Return the text of each unit by its file name."""
    sockets: dict[str, str] = {}
    opened: list[Endpoint | None] = [
        config.control.listen,
        config.metrics.listen,
    ]  # opened by the daemon itself
    for service, listener in _listeners(config):
        endpoint = listener.endpoint
        if socket_activation and not isinstance(endpoint, SystemdEndpoint):
            name = _free_name(service, endpoint, sockets)
            sockets[f"sockd-{name}.socket"] = _socket_unit(name, listener, place)
        else:
            opened.append(endpoint)
    for inherited in opened:
        if isinstance(inherited, SystemdEndpoint):
            sockets.setdefault(f"sockd-{_NO_NAME.sub('-', inherited.name)}.socket", "")
    service_unit = _service_unit(config, place, opened, list(sockets))
    return {"sockd.service": service_unit} | {name: text for name, text in sockets.items() if text}


def _service_unit(
    config: Config, place: Place, opened: Iterable[Endpoint | None], sockets: Iterable[str]
) -> str:
    folders = _folders(config, opened)
    made, others = _made_by_systemd(folders)
    needed = [place.command, place.python, place.config, *folders, *map(normal, _files(config))]
    home = "read-only" if _any_below(needed, _HOMES) else "yes"
    temporary = "no" if _any_below(needed, _TEMPORARY) else "yes"
    low_port = any(
        isinstance(endpoint, InetEndpoint) and 0 < endpoint.port < PRIVILEGED for endpoint in opened
    )
    capability = "CAP_NET_BIND_SERVICE" if low_port else ""
    start = f"{_word(place.command)} run -c {_word(place.config)}".replace("$", "$$")
    stop = round(config.daemon.drain_timeout) + STOP_MARGIN
    return "\n".join(
        [
            "# Before the first start:",
            f"#   useradd --system --no-create-home --shell /usr/sbin/nologin {place.user}",
            *(f"#   install -d -o {place.user} -g {place.user} {_word(folder)}" for folder in others),
            "",
            "[Unit]",
            "Description=sockd, a daemon of many services",
            "# The interfaces have their addresses then.",
            "Wants=network-online.target",
            "After=network-online.target",
            "# Start again for ever: a fault such as a port in use may end by itself.",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *_life(start, stop, notify_reload=place.notify_reload),
            *([f"Sockets={' '.join(sockets)}"] if sockets else []),
            "",
            "# The user, and the only folders that the daemon can write to.",
            f"User={place.user}",
            "UMask=0077",
            "ProtectSystem=strict",
            *made,
            *([f"ReadWritePaths={' '.join(map(_word, others))}"] if others else []),
            *(["# A needed file is in a home folder."] if home != "yes" else []),
            f"ProtectHome={home}",
            *(["# A needed file is in a temporary folder."] if temporary != "yes" else []),
            f"PrivateTmp={temporary}",
            "",
            *_rights(capability),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _life(start: str, stop: int, *, notify_reload: bool) -> Iterator[str]:
    if notify_reload:
        yield "# The daemon reports when it serves. A reload is a SIGHUP; the daemon reports when it is over."
        yield "Type=notify-reload"
    else:
        yield "# The daemon reports when it serves."
        yield "Type=notify"
    yield f"ExecStart={start}"
    if not notify_reload:
        yield "ExecReload=kill -HUP $MAINPID"
    yield "# The reactor sends signs of life; a daemon that hangs is killed and started again."
    yield "WatchdogSec=30s"
    yield "Restart=on-failure"
    yield "RestartSec=2s"
    yield "# systemd keeps the sockets during a restart. Before version 254 it does not set FDSTORE itself."
    yield "FileDescriptorStoreMax=512\nEnvironment=FDSTORE=512\nRuntimeDirectoryPreserve=restart"
    yield "# SIGTERM goes to the main process: connections may finish (drain_timeout), then plugins stop."
    yield "KillMode=mixed"
    yield f"TimeoutStopSec={stop}s"


def _rights(capability: str) -> Iterator[str]:
    if capability:
        yield f"# Ports below {PRIVILEGED} need this capability, which has no effect in a user namespace."
        yield f"AmbientCapabilities={capability}"
        yield f"CapabilityBoundingSet={capability}"
        yield "PrivateUsers=no"
    else:
        yield "# No capability is needed: no port is below 1024, or systemd opens it."
        yield "CapabilityBoundingSet="
        yield "PrivateUsers=yes"
    yield from _CONFINED.splitlines()


_CONFINED = """\
NoNewPrivileges=yes
RestrictSUIDSGID=yes

# The daemon uses IP and UNIX sockets only.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

# The daemon does not administer the machine.
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
KeyringMode=private
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes

# Only system calls of an ordinary service; a denied call fails and does not kill the daemon.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

# Written memory cannot be executed. A plugin that compiles at run time needs `no` here.
MemoryDenyWriteExecute=yes

# Limits for a daemon that goes wrong, so that the machine survives.
TasksMax=512
MemoryMax=75%
OOMPolicy=continue"""


def _socket_unit(name: str, listener: Listener, place: Place) -> str:
    from sockd.sockets.open import DEFAULT_BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES

    endpoint, options = listener.endpoint, listener.socket
    inherited = SystemdEndpoint(name, "stream" if endpoint.stream else "datagram")
    lines = [
        f"# In {_plain(place.config)} replace {_plain(endpoint)} by the endpoint below; the options of its",
        "# socket table are keys of this unit:",
        f"#   {inherited}",
        "",
        "[Unit]",
        f"Description=sockd: {_plain(endpoint).replace('%', '%%')}",
        "",
        "[Socket]",
        f"FileDescriptorName={name}",
        "Service=sockd.service",
        f"{'ListenStream' if endpoint.stream else 'ListenDatagram'}={_address(endpoint)}",
    ]
    if isinstance(endpoint, UnixEndpoint):
        lines += [f"SocketUser={place.user}", f"SocketMode={endpoint.mode:04o}", "RemoveOnStop=yes"]
    elif isinstance(endpoint, InetEndpoint):
        if endpoint.ipv6:
            lines.append(f"BindIPv6Only={'ipv6-only' if options.v6_only else 'both'}")
        if endpoint.stream:
            lines += [
                f"NoDelay={_YES[options.no_delay]}",
                f"KeepAlive={_YES[options.keepalive]}",
                f"KeepAliveTimeSec={KEEPALIVE_IDLE}",
                f"KeepAliveIntervalSec={KEEPALIVE_INTERVAL}",
                f"KeepAliveProbes={KEEPALIVE_PROBES}",
            ]
        if options.defer_accept is not None:
            lines.append(f"DeferAcceptSec={max(1, round(options.defer_accept))}")
    if endpoint.stream:
        lines.append(f"Backlog={listener.backlog or DEFAULT_BACKLOG}")
    for key, size in (("ReceiveBuffer", options.receive_buffer), ("SendBuffer", options.send_buffer)):
        if size is not None:
            lines.append(f"{key}={size}")
    return "\n".join(
        [
            *lines,
            "# A daemon that fails to start must not close the socket for ever.",
            "TriggerLimitIntervalSec=0",
            "",
            "[Install]",
            "WantedBy=sockets.target",
            "",
        ]
    )


def _address(endpoint: object) -> str:
    if isinstance(endpoint, UnixEndpoint):
        return _plain(normal(endpoint.path)).replace("%", "%%")
    assert isinstance(endpoint, InetEndpoint)  # noqa: S101  # systemd's own sockets get no unit
    if not endpoint.port:
        raise click.ClickException(f"{endpoint}: a socket unit needs a port, and 0 is a free one")
    host = endpoint.interface or ("::" if endpoint.ipv6 else "0.0.0.0")  # noqa: S104  # as it is configured
    return f"[{host}]:{endpoint.port}" if endpoint.ipv6 else f"{host}:{endpoint.port}"


def _free_name(service: str, endpoint: InetEndpoint | UnixEndpoint, taken: Mapping[str, str]) -> str:
    """Choose a unique name for a listener's socket."""
    what = endpoint.path.stem if isinstance(endpoint, UnixEndpoint) else endpoint.port
    name = _NO_NAME.sub("-", f"{service}-{endpoint.scheme}-{what}")
    number = 2
    free = name
    while f"sockd-{free}.socket" in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _listeners(config: Config) -> Iterator[tuple[str, Listener]]:
    return ((service.name, listener) for service in config.services.values() for listener in service.listen)


def _folders(config: Config, opened: Iterable[Endpoint | None]) -> list[Path]:
    """Return the folders that the daemon writes to, without those inside others."""
    folders = {config.daemon.state_dir}
    folders |= {endpoint.path.parent for endpoint in opened if isinstance(endpoint, UnixEndpoint)}
    if config.log.file is not None:
        folders.add(config.log.file.parent)
    # A path of an option that is a file is only read; a plugin may create any other.
    folders |= {path for path in _option_paths(config) if not path.is_file()}
    folders = {normal(path) for path in folders}
    return sorted(path for path in folders if not folders.intersection(path.parents))


def _files(config: Config) -> Iterator[Path]:
    """Return the files that the daemon reads besides its code."""
    yield from _option_paths(config)
    for _, listener in _listeners(config):
        yield from (path for _, path in listener.tls.files()) if listener.tls else ()


def _option_paths(config: Config) -> Iterator[Path]:
    for service in config.services.values():
        values = (getattr(service.options, field) for field in type(service.options).model_fields)
        yield from (value for value in values if isinstance(value, Path))


def _made_by_systemd(folders: Iterable[Path]) -> tuple[list[str], list[Path]]:
    """Return the lines for folders that systemd makes itself, and the other folders."""
    made: dict[str, list[str]] = {}
    others = []
    for folder in folders:
        for key, parent in _MADE_BY_SYSTEMD.items():
            if parent in folder.parents:
                made.setdefault(key, []).append(_word(folder.relative_to(parent)))
                break
        else:
            others.append(folder)
    return [f"{key}={' '.join(words)}" for key, words in made.items()], others


def _any_below(paths: Iterable[Path], folders: Iterable[Path]) -> bool:
    return any(folder in (path, *path.parents) for path in paths for folder in folders)


def _word(path: Path) -> str:
    """Quote a path as one word of a unit."""
    text = _plain(path).replace("%", "%%")
    if re.fullmatch(r"[^\s\"'\\;#]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: object) -> str:
    text = str(value)
    if _CONTROL.search(text):
        raise click.ClickException(f"{text!r} has control characters, which a unit cannot have")
    return text
