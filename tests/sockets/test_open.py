from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sockd.config import SocketOptions
from sockd.endpoint import UnixEndpoint, parse
from sockd.errors import BindError
from sockd.sockets.open import BoundSocket, open_socket


def opened(text: str, **options: Any) -> BoundSocket:
    return open_socket(parse(text), SocketOptions.model_validate(options))


@pytest.mark.parametrize(
    ("text", "family", "kind"),
    [
        ("tcp:0:interface=127.0.0.1", socket.AF_INET, socket.SOCK_STREAM),
        ("tcp6:0:interface=[::1]", socket.AF_INET6, socket.SOCK_STREAM),
        ("tcp:0:interface=[::1]", socket.AF_INET6, socket.SOCK_STREAM),
        ("udp:0:interface=127.0.0.1", socket.AF_INET, socket.SOCK_DGRAM),
        ("udp6:0:interface=[::1]", socket.AF_INET6, socket.SOCK_DGRAM),
    ],
)
def test_each_kind_of_port_opens_at_a_free_number_and_says_which(text: str, family: int, kind: int) -> None:
    bound = opened(text)
    try:
        host, port = bound.socket.getsockname()[:2]
        assert (bound.socket.family, bound.socket.type) == (family, kind)
        assert port > 0
        assert bound.address.endswith(f":{port}")
        assert host.strip("[]") in bound.address
        assert not bound.socket.get_inheritable()
        assert not bound.socket.getblocking()
    finally:
        bound.close()


def test_ipv4_and_ipv6_of_one_port_number_go_side_by_side() -> None:
    for _ in range(10):
        first = opened("tcp:0:interface=0.0.0.0")
        try:
            opened(f"tcp6:{first.socket.getsockname()[1]}").close()
            return
        except BindError:  # another process may have this number on IPv6, but not ten of them
            continue
        finally:
            first.close()
    pytest.fail("not one of ten")


def test_socket_options_of_the_configuration_are_set() -> None:
    bound = opened(
        "tcp:0:interface=127.0.0.1",
        receive_buffer="64KiB",
        send_buffer="32KiB",
        user_timeout="30s",
        no_delay=False,
        keepalive=True,
        defer_accept="5s",
    )
    try:
        get = bound.socket.getsockopt
        # The kernel doubles what it is told, for its own bookkeeping (socket(7)).
        assert get(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 64 * 1024
        assert get(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 32 * 1024
        assert get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert get(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert get(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert get(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0
        assert get(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    finally:
        bound.close()


def test_accepted_connections_inherit_the_options() -> None:
    """Keep-alive finds a peer that has vanished, for example."""
    bound = opened("tcp:0:interface=127.0.0.1", no_delay=True, keepalive=True)
    client = socket.create_connection(bound.socket.getsockname())
    accepted, _ = bound.socket.accept()
    with client, accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    bound.close()


@pytest.mark.parametrize(("text", "options"), [(":backlog=1", {}), ("", {"backlog": 1})])
def test_the_backlog_bounds_how_many_wait_to_be_accepted(text: str, options: dict[str, int]) -> None:
    """The kernel lets one more than the backlog wait (listen(2), tcp(7))."""
    bound = opened(f"tcp:0:interface=127.0.0.1{text}", **options)
    clients = []
    try:
        for _ in range(6):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(bound.socket.getsockname())
            clients.append(client)
        # struct tcp_info of a listening socket: at 24 the queue, at 28 its limit.
        info = bound.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        assert int.from_bytes(info[28:32], "little") == 1
    finally:
        for client in clients:
            client.close()
        bound.close()


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_port_that_is_taken_is_one_clear_reason(scheme: str) -> None:
    bound = opened(f"{scheme}:0:interface=127.0.0.1")
    try:
        with pytest.raises(BindError, match="already in use"):
            opened(f"{bound.address.replace('127.0.0.1:', '')}:interface=127.0.0.1")
    finally:
        bound.close()


def test_an_address_that_the_machine_does_not_have_is_one_clear_reason() -> None:
    with pytest.raises(BindError, match="no interface of this machine has that address"):
        opened("tcp:0:interface=192.0.2.1")


def test_a_port_can_be_taken_again_at_once_after_a_connection_was_served() -> None:
    bound = opened("tcp:0:interface=127.0.0.1")
    address = bound.socket.getsockname()
    client = socket.create_connection(address)
    accepted, _ = bound.socket.accept()
    accepted.close()  # our side first, so that the port is in TIME_WAIT here
    client.close()
    bound.close()
    opened(f"tcp:{address[1]}:interface=127.0.0.1").close()


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_a_unix_socket_has_its_mode_whatever_the_umask(tmp_path: Path, scheme: str, mode: str) -> None:
    umask = os.umask(0o027)
    try:
        bound = opened(f"{scheme}:{tmp_path}/s:mode={mode}")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(umask)
    assert (tmp_path / "s").stat().st_mode & 0o777 == int(mode, 8)
    bound.close()


def test_a_unix_socket_never_has_wider_permissions_even_for_a_moment(tmp_path: Path) -> None:
    """A chmod after bind would leave a moment for another process."""
    path, seen, ended = tmp_path / "s", set[int](), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with suppress(FileNotFoundError):
                seen.add(path.stat().st_mode & 0o777)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):
            opened(f"unix:{path}:mode=600").close()
    finally:
        ended.set()
        watcher.join()
    assert seen <= {0o600}


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_the_path_is_gone_after_the_end(tmp_path: Path, scheme: str) -> None:
    bound = opened(f"{scheme}:{tmp_path}/s")
    bound.close()
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_somebody_else_has_taken_over_is_left_alone(tmp_path: Path) -> None:
    """A later daemon may serve there by now."""
    path = tmp_path / "s"
    bound = opened(f"unix:{path}")
    path.unlink()
    other = opened(f"unix:{path}")
    bound.close()
    assert path.exists()
    other.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_path_out_of_reach_is_not_taken_for_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    bound = open_socket(parse(f"unix:{folder}/x"), SocketOptions())
    folder.chmod(0o700)
    try:
        os.seteuid(65534)
        assert not bound.lost
    finally:
        os.seteuid(0)
    (folder / "x").unlink()
    assert bound.lost
    bound.close()


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_a_path_left_behind_by_a_killed_process_is_replaced(tmp_path: Path, scheme: str) -> None:
    bound = opened(f"{scheme}:{tmp_path}/s")
    bound.socket.close()  # after kill -9 the path stays too
    again = opened(f"{scheme}:{tmp_path}/s")
    again.close()


@pytest.mark.parametrize("first", ["unix", "unixgram"])
@pytest.mark.parametrize("second", ["unix", "unixgram"])
def test_a_live_socket_is_refused_and_lives_on(tmp_path: Path, first: str, second: str) -> None:
    bound = opened(f"{first}:{tmp_path}/s")
    with pytest.raises(BindError, match="already in use"):
        opened(f"{second}:{tmp_path}/s")
    kind = socket.SOCK_STREAM if first == "unix" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(str(tmp_path / "s"))
    bound.close()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(BindError, match="no socket is in the way"):
        opened(f"unix:{tmp_path}/s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BindError):
        opened(f"unix:{tmp_path}/s")
    assert not (tmp_path / "elsewhere").exists()


def test_two_that_start_at_once_do_not_both_take_the_old_path(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/s"
    results: list[object] = []

    def start() -> None:
        try:
            results.append(opened(path))
        except BindError as error:
            results.append(error)

    for _ in range(50):
        results.clear()
        stale = opened(path)
        stale.socket.close()
        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [result for result in results if isinstance(result, BoundSocket)]
        assert len(winners) == 1
        winners[0].close()


def test_the_folder_of_a_unix_socket_is_made(tmp_path: Path) -> None:
    opened(f"unix:{tmp_path}/run/sockd/s").close()
    assert (tmp_path / "run/sockd").is_dir()


def test_a_path_too_long_for_the_kernel_is_one_clear_reason(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="too long"):
        open_socket(UnixEndpoint("unix", tmp_path / ("x" * 120)), SocketOptions())


def test_a_failed_opening_leaks_no_descriptor(tmp_path: Path) -> None:
    bound = opened("tcp:0:interface=127.0.0.1")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(BindError):
            opened(f"tcp:{bound.socket.getsockname()[1]}:interface=127.0.0.1")
        with pytest.raises(BindError):
            opened("unix:/proc/nowhere/s")
    assert len(os.listdir("/proc/self/fd")) == before
    bound.close()
