"""Datagram ports of a real daemon with real clients."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Start

ECHOES = "".join(
    f'[service.echo{number}]\nplugin = "echo"\nlisten = ["udp:0:interface=127.0.0.1"]\n'
    for number in range(4)
)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_port_of_the_daemon_answers_another_one_whichever_process_serves_it(
    start: Start, workers: int
) -> None:
    daemon = start(f"[daemon]\nworkers = {workers}\n{ECHOES}").ready()
    services = [daemon.port(f"echo{number}", "udp") for number in range(4)]
    with ExitStack() as stack:
        impostors = []
        for _, port in services:
            impostors.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            impostors[-1].bind(("127.0.0.2", port))
            for service in services:
                impostors[-1].sendto(b"loop", service)
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(PATIENCE)
        for service in services:  # earlier datagrams are handled when this is answered
            client.sendto(b"hello", service)
            assert client.recvfrom(10) == (b"hello", service)
        for impostor in impostors:
            impostor.setblocking(False)
            with pytest.raises(BlockingIOError):
                impostor.recv(10)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_paused_service_answers_datagrams_once_it_is_resumed(
    start: Start, tmp_path: Path, workers: int
) -> None:
    config = f'[daemon]\nworkers = {workers}\n[control]\nlisten = "unix:run/control.sock"\n{ECHOES}'
    daemon = start(config).ready()

    def control(*words: str) -> None:
        command: list[str | Path] = [BIN / "sockd", *words, "-c", str(tmp_path / "sockd.toml")]
        subprocess.run(command, capture_output=True, check=True)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        control("pause", "echo0")
        client.sendto(b"waits", daemon.port("echo0", "udp"))
        client.sendto(b"does not", daemon.port("echo1", "udp"))
        assert client.recv(10) == b"does not"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(10)
        control("resume", "echo0")
        client.settimeout(PATIENCE)
        assert client.recv(10) == b"waits"


PLAIN = """
from sockd.plugin import IDatagramPlugin, Plugin
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

class Talking(DatagramProtocol):
    def datagramReceived(self, data, address):
        self.transport.write(data + b"!", address)
        self.transport.write(data[::-1], address)

@implementer(IDatagramPlugin)
class Plain(Plugin):
    def datagram_protocol(self, protocol, context):
        return Talking()
"""


def test_a_plugin_that_says_nothing_of_replies_sends_no_more_than_it_was_sent(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    config = '[service.plain]\nplugin = "plain:Plain"\nlisten = ["udp:0:interface=127.0.0.1"]\n'
    daemon = start(config, env={"PYTHONPATH": str(tmp_path)}).ready()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.sendto(b"hello", daemon.port("plain", "udp"))
        assert client.recv(100) == b"olleh"
