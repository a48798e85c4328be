"""Daemon that receives files over HTTP, for the tests of a module or for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from running import BIN, Daemon


@dataclass
class Website:
    """Daemon with a listener of HTTP.

    Attributes:
        daemon: its process.
        port: of the listener.
        received: the folder of its files.
    """

    daemon: Daemon
    port: int
    received: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        """Kill the daemon, and wait for its end."""
        self.daemon.process.kill()
        self.daemon.process.wait()


@contextmanager
def website(folder: Path, port: int = 0, workers: int = 0, **options: str) -> Iterator[Website]:
    """Serve from a folder, at a port or at any.

    Args:
        folder: of the daemon.
        port: as before, after a kill.
        workers: their number; 0 for none.
        options: of the plugin, in TOML.
    """
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    (folder / "sockd.toml").write_text(
        f"[daemon]\n{f'workers = {workers}' if workers else ''}\n"
        '[service.files]\nplugin = "files"\n'
        f'listen = [{{ endpoint = "tcp:{port}:interface=127.0.0.1", protocol = "http" }}]\n'
        f'[service.files.options]\ndirectory = "received"\n{lines}'
    )
    daemon = Daemon(BIN / "sockd", "run", cwd=folder)
    try:
        yield Website(daemon.ready(), daemon.port("files")[1], folder / "received")
    finally:
        daemon.stop()
