from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.mark.parametrize("reactor", ["uv", "epoll"])
def test_a_plugins_protocol_receives_the_descriptors_that_a_peer_passes(tmp_path: Path, reactor: str) -> None:
    (tmp_path / "passed.py").write_text(
        textwrap.dedent("""
        import os
        from twisted.internet.interfaces import IFileDescriptorReceiver
        from twisted.internet.protocol import Protocol
        from zope.interface import implementer

        @implementer(IFileDescriptorReceiver)
        class Reader(Protocol):
            def fileDescriptorReceived(self, descriptor):
                self.transport.write(b"read " + os.read(descriptor, 100))
                os.close(descriptor)
        """)
    )
    (tmp_path / "sockd.toml").write_text(
        '[service.reader]\nplugin = "factory"\nlisten = ["unix:reader.sock"]\n'
        'options = { factory = "passed:Reader" }\n'
    )
    twistd = Path(sys.executable).parent / "twistd"
    daemon = subprocess.Popen(
        [twistd, f"--reactor={reactor}", "-n", "--pidfile=", "sockd", "-c", "sockd.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout is not None
    try:
        assert any('"ready"' in line for line in daemon.stdout)
        with socket.socket(socket.AF_UNIX) as client, (tmp_path / "file").open("w+") as file:
            file.write("what is in the file")
            file.seek(0)
            client.settimeout(10)
            client.connect(str(tmp_path / "reader.sock"))
            rights = array.array("i", [file.fileno()])
            client.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert client.recv(100) == b"read what is in the file"
    finally:
        daemon.terminate()
        assert daemon.wait(10) == 0
        daemon.stdout.close()
