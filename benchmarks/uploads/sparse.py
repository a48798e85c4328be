"""Command `python -m benchmarks.uploads.sparse`: a file of more than 4 GiB, bit for bit, from real clients.

The file is sparse, so that it costs the sender no room. It has data where numbers of 31 and 32 bits end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path

import click

from benchmarks.peers import BIN
from benchmarks.processes import HOST, MeasureError, free_port
from benchmarks.uploads.measure import running
from benchmarks.uploads.receivers import FILES, Receiver
from benchmarks.uploads.senders import raw

SIZE = (5 << 30) + 3

PLACES = (0, (2 << 30) - (1 << 19), (4 << 30) - (1 << 19), SIZE - (1 << 20))
"""Offsets of the data, a megabyte at each."""

ROOM = SIZE + (2 << 30)
"""Bytes that must be free: each copy is removed before the next is sent."""

_PATIENCE = 1800.0  # seconds for one client

_TUSPY = """
import sys
from tusclient.client import TusClient
TusClient(sys.argv[1]).uploader(sys.argv[2], metadata={"filename": "film"}, chunk_size=64 << 20).upload()
"""

_CLIENTS = Path(__file__).parents[2] / ".clients" / "python"

_SSH = ("-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR")


def curl(port: int, file: Path, folder: Path) -> None:
    """Send by PUT."""
    del folder
    _run("curl", "-sS", "--fail-with-body", "-T", file, f"http://{HOST}:{port}/film")


def tuspy(port: int, file: Path, folder: Path) -> None:
    """Send over tus."""
    del folder
    _run(sys.executable, "-c", _TUSPY, f"http://{HOST}:{port}/", file)


def sftp(port: int, file: Path, folder: Path) -> None:
    """Send by OpenSSH's sftp."""
    batch = folder / "batch"
    batch.write_text(f"put {file} film\n")
    _run("sftp", *_SSH, "-P", str(port), "-b", batch, f"ann@{HOST}")


def sockd_send(port: int, file: Path, folder: Path) -> None:
    """Send by `sockd send`."""
    del folder
    _run(BIN / "sockd", "send", "--quiet", file, f"tcp:{HOST}:{port}")


WAYS: Mapping[str, tuple[str, Callable[[int, Path, Path], None]]] = {
    "curl": ("http", curl),
    "tuspy": ("http", tuspy),
    "sftp": ("sftp", sftp),
    "raw": ("raw", raw),
    "send": ("upload", sockd_send),
}
"""Protocol and client by the name of the way."""


def make(file: Path) -> None:
    """Make the file."""
    with file.open("wb") as target:
        os.truncate(target.fileno(), SIZE)
        for place in PLACES:
            os.pwrite(target.fileno(), os.urandom(1 << 20), place)


def compare(file: Path, other: Path) -> None:
    """Compare files byte by byte.

    Raises:
        MeasureError: they differ; the text tells where.
    """
    if (size := other.stat().st_size) != file.stat().st_size:
        raise MeasureError(f"expected {file.stat().st_size} bytes, found {size}")
    with file.open("rb") as one, other.open("rb") as two:
        while piece := one.read(1 << 20):
            if piece != two.read(len(piece)):
                raise MeasureError(f"another byte in the megabyte before {one.tell()}")


def send(way: str, file: Path, folder: Path) -> float:
    """Send the file in a way to a daemon of its own, and compare what is stored; return the seconds.

    Raises:
        MeasureError: it was not stored, or differs.
    """
    protocol, client = WAYS[way]
    (folder / FILES).mkdir(parents=True)

    def command(port: int, folder: Path) -> list[str]:
        (folder / "sockd.toml").write_text(
            f'[daemon]\nstate_dir = "{folder / "state"}"\n[service.files]\nplugin = "files"\n'
            f'listen = [{{ endpoint = "tcp:{port}:interface={HOST}", protocol = "{protocol}" }}]\n'
            f'[service.files.options]\ndirectory = "{folder / FILES}"\n'
        )
        return [f"{BIN}/sockd", "run", "-c", "sockd.toml"]

    try:
        port = free_port("tcp")
        with running(Receiver(way, way, command, client), port, folder, 0):
            began = time.perf_counter()
            client(port, file, folder)
            seconds = time.perf_counter() - began
        (stored,) = (path for path in (folder / FILES).iterdir() if path.is_file())
        compare(file, stored)
    finally:
        shutil.rmtree(folder)
    return seconds


def _run(*words: str | Path) -> None:
    env = os.environ | {"PYTHONPATH": str(_CLIENTS)}
    try:
        done = subprocess.run(  # noqa: S603  # our own
            words, env=env, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except OSError as error:
        raise MeasureError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        raise MeasureError(
            f"{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
        )


@click.command()
@click.option("--only", multiple=True, metavar="WAY", help="Such as curl; may be repeated.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="On the disk to receive to; by default that of temporary files.",
)
def main(only: tuple[str, ...], folder: Path | None) -> None:
    """Send a sparse file of 5 GiB over each protocol, and compare what is stored."""
    chosen = [way for way in WAYS if not only or any(fnmatch(way, pattern) for pattern in only)]
    if not chosen:
        raise click.BadParameter(f"expected one of {', '.join(WAYS)}", param_hint="--only")
    failed = False
    with tempfile.TemporaryDirectory(dir=folder, prefix="sparse-") as name:
        if (free := shutil.disk_usage(name).free) < ROOM:
            raise click.ClickException(f"expected {ROOM >> 30} GiB of free disk, found {free >> 30}")
        make(file := Path(name, "film"))
        for way in chosen:
            try:
                seconds = send(way, file, Path(name, "own"))
                click.echo(f"{way}: the same, {SIZE / seconds / 1e6:.0f} MB/s")
            except MeasureError as error:
                failed = True
                click.echo(f"{way}: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.uploads.sparse")
