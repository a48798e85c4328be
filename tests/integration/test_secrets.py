"""Secrets of a configuration appear in no output of a daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Start

FROM_FILE, FROM_ENVIRONMENT = "canary-in-a-file-7Q", "canary-in-the-environment-9Z"

PLUGIN = '''
from sockd.plugin import IStreamPlugin, Plugin
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

class Opened(Protocol):
    def dataReceived(self, data):
        if data == b"fault":
            raise RuntimeError("a plugin's mistake")
        self.transport.write(data)

@implementer(IStreamPlugin)
class Guarded(Plugin):
    """Has secrets."""
    password: str
    token: str
    pin: int = 0

    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Opened)
'''

CONFIG = """
[daemon]
workers = {workers}
[log]
level = "debug"
[control]
listen = "unix:run/control.sock"
[metrics]
listen = "tcp:{port}:interface=127.0.0.1"
[service.guarded]
plugin = "guarded:Guarded"
listen = ["tcp:0:interface=127.0.0.1"]
options.password = {{ file = "password" }}
options.token = "${{TOKEN_HERE}}"
{more}
"""

FAULTY = (
    'options.pin = { file = "password" }',
    'options.pin = "${TOKEN_HERE}"',
    'options.tokn = "${TOKEN_HERE}"',
)
"""Faulty texts for a reload: a secret where none belongs, or of a wrong kind."""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_secret_is_in_no_log_no_answer_and_no_complaint(start: Start, tmp_path: Path, workers: int) -> None:
    (tmp_path / "guarded.py").write_text(PLUGIN)
    (tmp_path / "password").write_text(f"{FROM_FILE}\n")
    (tmp_path / "password").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"TOKEN_HERE": FROM_ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    daemon = start(CONFIG.format(workers=workers, port=port, more=""), env=env).ready()
    said: list[str] = []

    def sockd(*words: str) -> None:
        command = [str(BIN / "sockd"), *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=False
        )
        said.extend((done.stdout, done.stderr))

    with socket.create_connection(daemon.port("guarded"), PATIENCE) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        for line in ("status -v", "status --json", "ps --json", "top --once"):
            sockd(*line.split())
        client.sendall(b"fault")
        daemon.wait_for("plugin fault")
    for path in ("", "metrics", "status.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE) as answer:
            said.append(answer.read().decode())
    for more in FAULTY:
        (tmp_path / "sockd.toml").write_text(CONFIG.format(workers=workers, port=port, more=more))
        told = len(daemon.all_of("not reloaded"))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_times("not reloaded", told + 1)
        for line in ("reload", "reload --json --dry-run"):
            sockd(*line.split())
        if not workers:  # these read the file, and ask no daemon
            for line in ("check", "check --json"):
                sockd(*line.split())
    if not workers:
        sockd("plugins", "guarded:Guarded")
        sockd("systemd")
    assert daemon.stop() == 0
    said += [json.dumps(daemon.events), daemon.errors]
    assert not [text for text in said if FROM_FILE in text or FROM_ENVIRONMENT in text]
    assert sum("options.pin" in text for text in said) >= 4  # the faults were reported
