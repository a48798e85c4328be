"""Finds the process that holds an address which is in use, as far as this process may see (proc(5))."""

from __future__ import annotations

import ipaddress
import os
import pwd
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sockd.endpoint import InetEndpoint, UnixEndpoint

_NET = Path("/proc/self/net")
_LISTENS = f"{1 << 16:08X}"  # __SO_ACCEPTCON of linux/net.h


def holder(endpoint: InetEndpoint | UnixEndpoint) -> str:
    """Describe the holder of an address, to follow `the address is already in use`; empty if unknown."""
    sockets = dict(_at_path(endpoint) if isinstance(endpoint, UnixEndpoint) else _at_port(endpoint))
    if not sockets:
        return ""
    if pids := _processes(sockets):
        return _in_words(_first(pids))
    users = {user for user in sockets.values() if user is not None}
    return f" by a process of {user_name(min(users))}" if users else ""


def listener_at(path: Path) -> int | None:
    """Find the process that listens on a UNIX socket bound to `path`, even if the path is gone.

    Returns:
        The process id; 0 if this process may not see it; None if no process listens.
    """
    found = [
        words[6]
        for words in _table("unix", str(path))
        if len(words) > 7 and words[7] == str(path) and words[3] == _LISTENS
    ]
    pids = _processes(found) if found else set()
    return _first(pids) if pids else 0 if found else None


def _at_port(endpoint: InetEndpoint) -> Iterator[tuple[str, int | None]]:
    """Yield the inode and the user of each socket at a port."""
    wanted = ipaddress.ip_address(endpoint.interface.split("%")[0] or "::")
    kind = "tcp" if endpoint.stream else "udp"
    for table in (kind, f"{kind}6"):
        for words in _table(table, f":{endpoint.port:04X} "):
            with suppress(ValueError, IndexError):
                address, port = words[1].split(":")
                found = _address(address)
                met = found == wanted or found.is_unspecified or wanted.is_unspecified
                # A closed connection that waits for its last packets has no inode: no process holds it.
                if int(port, 16) == endpoint.port and met and words[9] != "0":
                    yield words[9], int(words[7])


def _at_path(endpoint: UnixEndpoint) -> Iterator[tuple[str, int | None]]:
    for words in _table("unix", str(endpoint.path)):
        if len(words) > 7 and words[7] == str(endpoint.path):
            yield words[6], None


def _table(name: str, within: str) -> Iterable[list[str]]:
    """Return the words of each line that contains `within`: a table may have a line per connection."""
    try:
        lines = (_NET / name).read_text(errors="surrogateescape").splitlines()
    except OSError:  # hidden, as by ProcSubset=pid of systemd
        return []
    return [line.split(maxsplit=7 if name == "unix" else -1) for line in lines[1:] if within in line]


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an address: words of 32 bits, each in the machine's byte order."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address


def _processes(inodes: Iterable[str]) -> set[int]:
    """Return the processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(_link(f"{folder}/fd/{name}") in wanted for name in os.listdir(folder / "fd")):
                found.add(int(folder.name))
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _first(pids: set[int]) -> int:
    """Return this process if it is in `pids`; else one that no other process in `pids` has started."""
    if os.getpid() in pids:
        return os.getpid()
    return min((pid for pid in pids if _parent(pid) not in pids), default=min(pids))


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _in_words(pid: int) -> str:
    if pid == os.getpid():
        return " by this process itself"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:  # it has ended meanwhile
        return ""
    served = _served(command, folder)
    if served is not None and served == _served(sys.argv, Path.cwd()):
        return f": this daemon already runs, pid {pid}"
    return f" by {'sockd' if served or _is_ours(command) else name}, pid {pid}"


def _is_ours(command: list[str]) -> bool:
    """Tell whether a command line is that of a supervisor or a worker."""
    return any(word.startswith(("sockd.serving.", "sockd.supervisor.")) for word in command)


def _served(command: list[str], folder: Path) -> Path | None:
    """Return the configuration file that a command line of sockd serves; None for another program."""
    words = [word for word in command if word]
    if "sockd" not in (Path(word).name for word in words):
        return None
    named = "sockd.toml"
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("-c", "--config"):
            named = following
        elif word.startswith("--config="):
            named = word.removeprefix("--config=")
    return Path(os.path.normpath(folder / named))


def user_name(user: int) -> str:
    """Return a user's name as a message shows it."""
    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user {user}"
