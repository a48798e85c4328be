"""Daemon for the tests of one module, on a reactor of their choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running import BIN, Daemon


@contextmanager
def serving(folder: Path, text: str, reactor: str, env: dict[str, str] | None = None) -> Iterator[Daemon]:
    """Serve a configuration from a folder that is also importable; it must end in order."""
    (folder / "sockd.toml").write_text(text)
    command = (BIN / "twistd", f"--reactor={reactor}", "-n", "sockd", "-c", "sockd.toml")
    daemon = Daemon(*command, cwd=folder, env={"PYTHONPATH": str(folder)} | (env or {}))
    try:
        yield daemon.ready()
    finally:
        code = daemon.stop()
    assert code == 0, daemon.errors
