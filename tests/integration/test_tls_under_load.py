"""Many TLS clients at once: certificates that change meanwhile, and the cost of each client."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from running import PATIENCE, Daemon
from serving import serving
from tests.tls.authority import issue

ROTATIONS = 100

CONNECTIONS = 400

A_CONNECTION = 32 * 1024
"""Bytes that an idle TLS connection may cost."""

CONFIG = """
[service.echo]
plugin = "echo"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]
"""


@pytest.fixture(params=["uv", "epoll"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    put(tmp_path, 0)
    with serving(tmp_path, CONFIG, request.param) as daemon:
        yield daemon


def put(folder: Path, number: int) -> None:
    """Replace the certificate and its key in one file, at once."""
    server = issue(f"server-{number}.example")
    new = folder / "server.new"
    new.write_bytes(server.pem + server.key_pem())
    new.chmod(0o600)
    new.rename(folder / "server.pem")


def shake(daemon: Daemon) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(daemon.port("echo"), PATIENCE))


class Clients:
    """Clients that shake hands and ask, one after the other, until they are stopped."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ended = threading.Event()
        self.served = 0
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    def _go_on(self) -> None:
        try:
            while not self._ended.is_set():
                with shake(self._daemon) as client:
                    client.sendall(b"hello")
                    assert client.recv(5) == b"hello"
                self.served += 1
        except Exception as error:  # shown by the test
            self.fault = error

    def end(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        assert self.fault is None, self.fault


def test_certificates_change_a_hundred_times_and_no_handshake_fails(daemon: Daemon, tmp_path: Path) -> None:
    with shake(daemon) as old:
        clients, shown = Clients(daemon), set()
        for number in range(1, ROTATIONS + 1):
            put(tmp_path, number)
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_times("certificates loaded", number)
            with shake(daemon) as client:
                shown.add(client.getpeercert(binary_form=True))
        clients.end()
        old.sendall(b"still")
        assert old.recv(5) == b"still"
    assert len(shown) == ROTATIONS
    assert clients.served > 0
    assert not [event for event in daemon.events if event.get("event") == "connection refused"]


def resident(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def test_an_idle_connection_costs_no_more_than_its_bound(daemon: Daemon) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(shake(daemon))
        before = resident(daemon)
        for _ in range(CONNECTIONS):
            client = stack.enter_context(shake(daemon))
            client.sendall(b"x" * 1000)
            client.recv(1000)
        assert (resident(daemon) - before) / CONNECTIONS < A_CONNECTION


def test_a_silent_connection_costs_a_small_part_of_that(daemon: Daemon) -> None:
    """A session of OpenSSL is made only for a peer that begins one."""
    with ExitStack() as stack:
        stack.enter_context(shake(daemon))
        before = resident(daemon)
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(daemon.port("echo"), PATIENCE))
        with shake(daemon) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert (resident(daemon) - before) / CONNECTIONS < A_CONNECTION / 4
