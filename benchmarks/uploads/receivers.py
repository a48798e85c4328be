"""Receivers of files: sockd over each of its protocols, and other servers."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import BIN, SERVERS
from benchmarks.processes import HOST
from benchmarks.uploads import senders
from benchmarks.uploads.senders import KEY, Send

Command = Callable[[int, Path], list[str]]
"""Words that start a receiver at a port, with a folder of its own, in which it is started."""

FILES = "files"
"""Folder of the received files within the receiver's own."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Server that receives files.

    Attributes:
        key: its short name.
        title: its name in the table, with what it does before it confirms.
        command: starts it.
        send: sends it a file.
        absent: reason why it cannot be measured here; empty if it can.
        serves_once: whether it ends after a file.
    """

    key: str
    title: str
    command: Command
    send: Send
    absent: Callable[[], str] = lambda: ""
    serves_once: bool = False


def _sockd(protocol: str) -> Command:
    def command(port: int, folder: Path) -> list[str]:
        (folder / "sockd.toml").write_text(
            f'[service.files]\nplugin = "files"\n'
            f'listen = [{{ endpoint = "tcp:{port}:interface={HOST}", protocol = "{protocol}" }}]\n'
            f'[service.files.options]\ndirectory = "{folder / FILES}"\n'
        )
        return [f"{BIN}/sockd", "run", "-c", "sockd.toml"]

    return command


def _ncat(port: int, folder: Path) -> list[str]:
    return ["sh", "-c", f"exec ncat -l {HOST} {port} --recv-only > {folder / FILES}/received"]


def _socat(port: int, folder: Path) -> list[str]:
    listener = f"TCP-LISTEN:{port},bind={HOST},reuseaddr"
    return ["socat", "-u", "-b65536", listener, f"CREATE:{folder / FILES}/received"]


def _nginx(port: int, folder: Path) -> list[str]:
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};\n" for name in places)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; {temporary} client_max_body_size 0;\n"
        f"server {{ listen {HOST}:{port}; root {folder / FILES}; dav_methods PUT; }} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _pyftpdlib(port: int, folder: Path) -> list[str]:
    where = ["-i", HOST, "-p", str(port), "-d", str(folder / FILES)]
    return [sys.executable, "-m", "pyftpdlib", "-w", *where]


def _copyparty(port: int, folder: Path) -> list[str]:
    quiet = ["-q", "--no-thumb", "--no-mtag-ff", "-j1"]
    return [
        sys.executable,
        "-m",
        "copyparty",
        *quiet,
        "-i",
        HOST,
        "-p",
        str(port),
        "-v",
        f"{folder / FILES}::rwmd",
    ]


def _tus(port: int, folder: Path) -> list[str]:
    return ["node", str(SERVERS / "tus_node.js"), HOST, str(port), str(folder / FILES)]


def _sshd(port: int, folder: Path) -> list[str]:
    for name in ("host-key", KEY):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)  # noqa: S603  # our own
    (folder / "sshd_config").write_text(
        f"ListenAddress {HOST}:{port}\nHostKey {folder}/host-key\nAuthorizedKeysFile {folder}/{KEY}.pub\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nAllowUsers {getpass.getuser()}\nPermitRootLogin yes\n"
        f"Subsystem sftp internal-sftp -d {folder / FILES}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    return [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]


def _no_program(*names: str) -> Callable[[], str]:
    def absent() -> str:
        missing = [
            name for name in names if not shutil.which(name, path="/usr/sbin:/usr/bin:/bin:/usr/local/bin")
        ]
        return f"there is no {', '.join(missing)} here" if missing else ""

    return absent


def no_module(name: str) -> Callable[[], str]:
    """Return a check whether Python finds a module."""

    def absent() -> str:
        found = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False)  # noqa: S603
        return f"{name} cannot be imported" if found.returncode else ""

    return absent


def no_tus() -> str:
    """Check whether Node finds the server of tus."""
    if not shutil.which("node"):
        return "there is no node here"
    command = ["node", "-e", "require('@tus/server'); require('@tus/file-store')"]
    found = subprocess.run(command, capture_output=True, cwd=SERVERS, check=False)  # noqa: S603  # our own
    return "node finds no @tus/server and @tus/file-store in NODE_PATH" if found.returncode else ""


RECEIVERS = (
    Receiver("sockd-raw", "sockd `raw`: SHA-256, synchronized", _sockd("raw"), senders.raw),
    Receiver("sockd-upload", "sockd `upload`: SHA-256, synchronized", _sockd("upload"), senders.upload()),
    Receiver(
        "sockd-upload-blake3",
        "sockd `upload`: BLAKE3, synchronized",
        _sockd("upload"),
        senders.upload("blake3"),
    ),
    Receiver("sockd-http", "sockd `http` PUT: SHA-256, synchronized", _sockd("http"), senders.put),
    Receiver("sockd-tus", "sockd tus: SHA-256, synchronized", _sockd("http"), senders.tus("/")),
    Receiver(
        "sockd-sftp",
        "sockd `sftp`: SHA-256, synchronized",
        _sockd("sftp"),
        senders.sftp(),
        _no_program("sftp"),
    ),
    Receiver("ncat", "ncat into a file", _ncat, senders.raw, _no_program("ncat"), serves_once=True),
    Receiver("socat", "socat into a file", _socat, senders.raw, _no_program("socat"), serves_once=True),
    Receiver("nginx", "nginx PUT", _nginx, senders.put, _no_program("nginx")),
    Receiver("pyftpdlib", "pyftpdlib STOR", _pyftpdlib, senders.ftp, no_module("pyftpdlib")),
    Receiver(
        "copyparty", "copyparty PUT: SHA-512 of pieces", _copyparty, senders.put, no_module("copyparty")
    ),
    Receiver("tus", "@tus/server", _tus, senders.tus("/files"), no_tus),
    Receiver("sftp", "OpenSSH sftp", _sshd, senders.sftp(), _no_program("sshd", "sftp", "ssh-keygen")),
    Receiver(
        "sftp-gcm",
        "OpenSSH sftp, AES-GCM",
        _sshd,
        senders.sftp("aes128-gcm@openssh.com"),
        _no_program("sshd", "sftp", "ssh-keygen"),
    ),
)
