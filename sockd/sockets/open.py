"""Opens the sockets of endpoints. Independent of plugins and of the reactor."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sockd.config import SocketOptions
from sockd.endpoint import Endpoint, InetEndpoint, SystemdEndpoint, UnixEndpoint
from sockd.errors import BindError
from sockd.reading import obstacle_to_folder
from sockd.sockets.holder import holder
from sockd.sockets.unicast import take_only_requests
from sockd.text import describe_os_error

DEFAULT_BACKLOG = 1024
"""Connections in the queue of a listening socket; Twisted's 50 overflow in a burst. The kernel caps it at
somaxconn."""

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 60, 10, 6
"""Seconds, seconds, count: a vanished peer is noticed after two minutes instead of the kernel's two hours."""

FOLDER_MODE = 0o755
"""Mode of folders made for UNIX sockets; the mode of the socket itself decides who may connect."""

SERVICE_BIT = stat.S_ISVTX
"""Mode bit of the path of a UNIX datagram socket that answers by itself, so that no service answers it. The
bit has no other meaning for a socket."""

_REASONS = {
    errno.EADDRINUSE: "the address is already in use",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EAFNOSUPPORT: "this machine has no such address family",
    errno.ENAMETOOLONG: "the path is too long",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many open files in this process",
}


@dataclass(frozen=True, slots=True, eq=False)
class BoundSocket:
    """Open socket and its endpoint; `close` also removes the path of a UNIX socket."""

    socket: socket.socket
    endpoint: InetEndpoint | UnixEndpoint
    inode: tuple[int, int] | None = None
    """Device and inode of the path, so that no other process's socket is removed."""
    closing: Callable[[], bool] = lambda: True
    """Called when the socket is closed; returns False if another process keeps it, True if it is gone."""

    @property
    def address(self) -> str:
        """Address for a client, as `sockd connect` takes it: `tcp:127.0.0.1:7007`."""
        if isinstance(self.endpoint, UnixEndpoint):
            return str(self.endpoint)
        host, port = self.socket.getsockname()[:2]
        return f"{self.endpoint.scheme[:3]}:{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def lost(self) -> bool:
        """Tell whether the path of a UNIX socket is gone, or another process's: no client reaches it."""
        if self.inode is None or not isinstance(self.endpoint, UnixEndpoint):
            return False  # a path that another process has made is not checked
        try:
            status = self.endpoint.path.lstat()
        except PermissionError:  # after a change of user its folder may be out of reach: nobody knows
            return False
        except OSError:
            return True
        return self.inode != (status.st_dev, status.st_ino)

    def close(self) -> None:
        """Close the socket for this process; unless another one shares it, queued connections are reset."""
        if (
            self.closing()
            and isinstance(self.endpoint, UnixEndpoint)
            and self.inode == _inode(self.endpoint.path)
        ):
            # After a change of user the folder may be out of reach; the next start replaces the path.
            with suppress(OSError):
                self.endpoint.path.unlink()
        self.socket.close()


OpenSocket = Callable[[Endpoint, SocketOptions], BoundSocket]
"""Function that opens the socket of an endpoint, or takes one that is open already."""


def bound_already(sock: socket.socket, endpoint: InetEndpoint | UnixEndpoint) -> BoundSocket:
    """Return a socket that is open already with its endpoint."""
    return BoundSocket(sock, endpoint, _inode(endpoint.path) if isinstance(endpoint, UnixEndpoint) else None)


def open_socket(endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
    """Create and bind a socket; one for streams also listens.

    Raises:
        BindError: the machine says no; nothing is left open.
    """
    if isinstance(endpoint, SystemdEndpoint):
        raise BindError(str(endpoint), "only systemd opens it")
    try:
        if isinstance(endpoint, UnixEndpoint):
            return _open_unix(endpoint, options)
        return _open_inet(endpoint, options)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, describe_os_error(error))
        if error.errno == errno.EADDRINUSE:
            reason += holder(endpoint)
        elif error.errno in (errno.EACCES, errno.EPERM) and isinstance(endpoint, InetEndpoint):
            reason += f" (ports below {_first_free_port()} need root or CAP_NET_BIND_SERVICE)"
        elif error.filename:
            reason += f" ({error.filename})"
        raise BindError(str(endpoint), reason) from error


def obstacle(path: Path) -> str | None:
    """Say why no UNIX socket can be made at `path`, as far as is known without making one; None if it can."""
    if os.path.lexists(path) and not stat.S_ISSOCK(path.lstat().st_mode):
        return "a file that is no socket is in the way"
    return obstacle_to_folder(path.parent)


def _open_inet(endpoint: InetEndpoint, options: SocketOptions) -> BoundSocket:
    family = socket.AF_INET6 if endpoint.ipv6 else socket.AF_INET
    kind = socket.SOCK_STREAM if endpoint.stream else socket.SOCK_DGRAM
    sock = socket.socket(family, kind)
    try:
        # On Linux accepted sockets inherit all of these from the listening one.
        if endpoint.ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, options.v6_only)
        _set_buffers(sock, options)
        if endpoint.stream:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, options.reuse_address)
            _set_tcp(sock, options)
        else:
            take_only_requests(sock)
        sock.bind((endpoint.interface, endpoint.port))
        _listen(sock, endpoint, options)
    except BaseException:  # close the socket whatever was raised
        sock.close()
        raise
    return BoundSocket(sock, endpoint)


def _set_tcp(sock: socket.socket, options: SocketOptions) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.no_delay)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive)
    if options.keepalive:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    if options.user_timeout is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(options.user_timeout * 1000))
    if options.defer_accept is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, max(1, round(options.defer_accept)))


def _set_buffers(sock: socket.socket, options: SocketOptions) -> None:
    if options.receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)
    if options.send_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer)


def _listen(sock: socket.socket, endpoint: InetEndpoint | UnixEndpoint, options: SocketOptions) -> None:
    sock.setblocking(False)
    if endpoint.stream:
        sock.listen(endpoint.backlog or options.backlog or DEFAULT_BACKLOG)


def _open_unix(endpoint: UnixEndpoint, options: SocketOptions) -> BoundSocket:
    path = endpoint.path
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if endpoint.stream else socket.SOCK_DGRAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Two daemons that start at once must not both take the old path for stale. The lock lasts until
        # the socket listens, because until then it looks stale too.
        fcntl.flock(folder, fcntl.LOCK_EX)
        _set_buffers(sock, options)
        if not endpoint.stream:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            os.fchmod(sock.fileno(), 0o777 | SERVICE_BIT)  # `bind` gives it to the path, without the umask
        _remove_stale(path, sock.type)
        # The umask sets the mode at bind: a chmod afterwards would leave a moment with wider permissions.
        umask = os.umask(0o777 & ~endpoint.mode)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(umask)
        _listen(sock, endpoint, options)
    except BaseException:  # close the socket whatever was raised
        sock.close()
        raise
    finally:
        os.close(folder)
    return BoundSocket(sock, endpoint, _inode(path))


def _remove_stale(path: Path, kind: int) -> None:
    """Remove the path of a socket that no process listens on; refuse any other file.

    Raises:
        OSError: a live socket or another kind of file is in the way.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way", str(path))
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        # Only a socket without a listener refuses; EAGAIN (a full queue) and EPROTOTYPE (the other kind of
        # socket) are answers of one that is in use.
        if probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "", str(path))
    path.unlink()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:  # hidden, as by ProcSubset=pid of systemd
        return 1024
