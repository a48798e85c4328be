"""Limits, as real clients meet them."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from running import PATIENCE, Daemon
from serving import serving
from sockd.datagram.loops import FIRST_DYNAMIC_PORT

CONFIG = """
[daemon]
drain_timeout = "5s"

[service.queue]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "unix:run/queue.sock"]
limits = { max_connections = 2, over_limit = "queue" }

[service.rate]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits = { connection_rate = "4/s", over_limit = "queue" }

[service.refuse]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits.max_connections = 1

[service.reset]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits = { max_connections = 1, over_limit = "reset" }

[service.banner]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "unix:run/banner.sock"]
limits = { max_connections = 1, over_limit = "banner", over_limit_banner = "come back later" }

[service.tarpit]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits = { max_connections = 1, over_limit = "tarpit", tarpit_time = "1s" }

[service.first]
plugin = "desk"
listen = ["tcp:0:interface=127.0.0.1"]
limits.first_message_timeout = "1s"

[service.slow]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits.bytes_per_second = "100KiB"

[service.source]
plugin = "echo"
listen = ["tcp6:0:interface=[::1]"]
limits.max_per_source = 1
"""


@pytest.fixture(scope="module", params=["uv", "epoll"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp("limits"), CONFIG, request.param) as daemon:
        yield daemon


def connect(daemon: Daemon, service: str) -> socket.socket:
    return socket.create_connection(daemon.port(service), PATIENCE)


def connect_unix(daemon: Daemon, service: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(daemon.path(service))
    return client


CONNECT = {"tcp": connect, "unix": connect_unix}


def asked(client: socket.socket, text: bytes = b"hello") -> bytes:
    """Return the service's answer."""
    client.sendall(text)
    return client.recv(100)


def hold_the_place(daemon: Daemon, service: str, stack: ExitStack, kind: str = "tcp") -> None:
    client = stack.enter_context(CONNECT[kind](daemon, service))
    assert asked(client) == b"hello"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_twenty_clients_on_two_places_are_all_served_in_the_end(daemon: Daemon, kind: str) -> None:
    """Clients over the limit wait in the daemon or in the kernel."""

    def visit(number: int) -> bytes:
        with CONNECT[kind](daemon, "queue") as client:
            return asked(client, b"%d" % number)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(visit, range(100)))
    assert answers == [b"%d" % number for number in range(100)]


def test_waiting_clients_are_served_in_order_and_keep_their_data(daemon: Daemon) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, "queue")) for _ in range(6)]
        for client in clients:
            client.sendall(b"hello")
        for served, next_one in zip(clients, clients[2:], strict=False):
            assert served.recv(100) == b"hello"
            assert not select.select([next_one], [], [], 0)[0]
            served.close()
        assert [client.recv(100) for client in clients[4:]] == [b"hello"] * 2


def test_a_queue_for_a_rate_lets_everybody_in_as_time_passes(daemon: Daemon) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon, "rate")) for _ in range(8)]
        for client in clients:
            client.sendall(b"hello")
        assert [client.recv(100) for client in clients] == [b"hello"] * 8
    assert 0.9 <= time.monotonic() - began < PATIENCE


def test_refuse_closes(daemon: Daemon) -> None:
    with ExitStack() as stack:
        hold_the_place(daemon, "refuse", stack)
        with connect(daemon, "refuse") as client:
            assert client.recv(1) == b""


def test_reset_breaks_off(daemon: Daemon) -> None:
    with ExitStack() as stack:
        hold_the_place(daemon, "reset", stack)
        with pytest.raises(ConnectionResetError), connect(daemon, "reset") as client:
            client.recv(1)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_banner_tells_a_line(daemon: Daemon, kind: str) -> None:
    with ExitStack() as stack:
        hold_the_place(daemon, "banner", stack, kind)
        with CONNECT[kind](daemon, "banner") as client:
            assert client.recv(100) == b"come back later\r\n"
            assert client.recv(100) == b""


def test_tarpit_holds_without_reading_and_lets_go(daemon: Daemon) -> None:
    with ExitStack() as stack:
        hold_the_place(daemon, "tarpit", stack)
        began = time.monotonic()
        with connect(daemon, "tarpit") as client:
            client.setblocking(False)
            sent = 0
            while select.select([], [client], [], 0.2)[1]:
                sent += client.send(b"x" * 65536)
                assert sent < 64 * 2**20, "it is read"
            client.settimeout(PATIENCE)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert time.monotonic() - began >= 0.9


def test_the_first_message_has_a_deadline_that_dribbling_does_not_renew(daemon: Daemon) -> None:
    with connect(daemon, "first") as client:
        client.recv(1000)
        began = time.monotonic()
        while not select.select([client], [], [], 0.1)[0] or client.recv(1000):
            assert time.monotonic() - began < PATIENCE
            client.sendall(b"x")


def test_a_rate_of_bytes_holds_and_nothing_is_lost(daemon: Daemon) -> None:
    text = os.urandom(150 * 1024)
    began = time.monotonic()
    with connect(daemon, "slow") as client:
        received = b""
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        while data := client.recv(65536):
            received += data
    assert received == text
    assert time.monotonic() - began > 0.9  # 300 KiB both ways, of which one second's worth may be ahead


SIOCSIFADDR, SIOCDIFADDR = 0x8916, 0x8936
"""Numbers of linux/sockios.h."""


def change_loopback(request: int, address: str) -> None:
    """Add or remove an IPv6 address: struct in6_ifreq of linux/ipv6.h."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        packed, interface = socket.inet_pton(socket.AF_INET6, address), socket.if_nametoindex("lo")
        asked_for = struct.pack("=16sIi", packed, 128, interface)
        fcntl.ioctl(any_socket, request, asked_for)


def wait_until_usable(address: str) -> None:
    """Wait until the kernel lets an address be used, a moment after it was added."""
    with socket.socket(socket.AF_INET6) as any_socket:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError):
                any_socket.bind((address, 0))
                return
    pytest.fail(f"{address} cannot be used")


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    """Addresses: two of one /64 and one of another, on loopback."""
    wanted = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
    added: list[str] = []
    try:
        for address in wanted:
            try:
                change_loopback(SIOCSIFADDR, address)
            except OSError as error:
                if error.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
                    pytest.skip("addresses cannot be added to the loopback interface here")
                raise
            added.append(address)
            wait_until_usable(address)
        yield wanted
    finally:
        for address in added:
            change_loopback(SIOCDIFADDR, address)


def test_a_whole_64_of_ipv6_is_one_source(daemon: Daemon, addresses: list[str]) -> None:
    first, same, other = (
        socket.create_connection(daemon.port("source"), PATIENCE, (address, 0)) for address in addresses
    )
    with first, same, other:
        assert asked(first) == b"hello"
        assert same.recv(1) == b""
        assert asked(other) == b"hello"


def test_waiting_clients_do_not_delay_the_end(tmp_path: Path) -> None:
    """A place that becomes free last is given to no client."""
    for reactor in ("uv", "epoll"):
        folder = tmp_path / reactor
        folder.mkdir()
        with serving(folder, CONFIG.replace("5s", "1h"), reactor) as daemon, ExitStack() as stack:
            holding = [stack.enter_context(connect(daemon, "queue")) for _ in range(2)]
            waiting = [stack.enter_context(connect(daemon, "queue")) for _ in range(3)]
            for client in holding:
                assert asked(client) == b"hello"
            daemon.signal()
            daemon.wait_for("stopping")
            for client in waiting:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
            for client in holding:
                client.close()
            assert daemon.wait() == 0
        assert [event for event in daemon.events if event.get("level") in ("error", "critical")] == []


UDP = """
[service.echo]
plugin = "echo"
listen = ["udp:0:interface=127.0.0.1"]
"""


def at_a_port_of_services() -> socket.socket:
    """Bind a datagram socket below the ports that operating systems give to clients."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(FIRST_DYNAMIC_PORT - 1, 1023, -1):
        with suppress(OSError):
            sock.bind(("127.0.0.1", port))
            break
    return sock


@pytest.mark.parametrize("reactor", ["uv", "epoll"])
def test_two_echoes_that_are_set_on_each_other_fall_silent(tmp_path: Path, reactor: str) -> None:
    """A single forged datagram starts the loop (CVE-2024-2169). The test plays the network."""
    with ExitStack() as stack:
        daemons: list[Daemon] = []
        ends: list[socket.socket] = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            daemons.append(stack.enter_context(serving(tmp_path / name, UDP, reactor)))
            ends.append(stack.enter_context(at_a_port_of_services()))
            ends[-1].connect(daemons[-1].port("echo", "udp"))
        ends[0].send(b"x")
        passed = 0
        while not any(event.get("reason") == "loop" for daemon in daemons for event in daemon.events):
            for end in select.select(ends, [], [], 0.05)[0]:
                ends[end is ends[0]].send(end.recv(100))
                passed += 1
            assert passed < 200  # a hundred from each
        assert not select.select(ends, [], [], 0)[0]


CHANGED = """
[service.echo]
plugin = "echo"
listen = ["unix:run/echo.sock"]
limits.bytes_per_second = "{rate}"
"""


@pytest.mark.parametrize("reactor", ["uv", "epoll"])
def test_a_rate_that_a_reload_changes_holds_for_a_connection_that_is_open(
    tmp_path: Path, reactor: str
) -> None:
    with (
        serving(tmp_path, CHANGED.format(rate="off"), reactor) as daemon,
        connect_unix(daemon, "echo") as client,
    ):
        assert asked(client) == b"hello"
        (tmp_path / "sockd.toml").write_text(CHANGED.format(rate="50KiB"))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
        began = time.monotonic()
        for _ in range(40):
            client.sendall(b"x" * 4096)
            received = 0
            while received < 4096:
                received += len(client.recv(4096))
        assert time.monotonic() - began > 2.9  # 320 KiB both ways, of which two seconds' worth may be ahead
