"""Sender over SFTP: OpenSSH's own client, without a password where all may send."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.crash.daemon import HOST
from benchmarks.crash.sending import PATIENCE, Sending

_LOST = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe")
"""Words of a client whose connection is lost, or was not made."""


class Sftp:
    """Sender of whole files over SFTP."""

    protocol = "sftp"
    resumes = False
    names = True
    size = (20 << 20) + 4321

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:  # noqa: ARG002  # cannot
        """Implement `Client.send`."""
        sending.refused = ""
        options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(sending.data)
            command = ["sftp", "-q", "-b-", *options, "-P", str(port), f"someone@{HOST}"]
            done = subprocess.run(  # noqa: S603  # our own
                command,
                input=f"put {file} {sending.name}\n",
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode == 0:
            sending.stored = sending.name
        elif not any(words in done.stderr for words in _LOST):
            sending.refused = done.stderr.strip()
