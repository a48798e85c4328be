"""Programs that are told of received files, also after the daemon was killed."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from crews import wait_until
from running import PATIENCE, Daemon, Start

PROGRAM = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
if not (folder / "open").exists():
    sys.exit("the scanner is closed")
with (folder / "told").open("a") as told:
    told.write(sys.stdin.read())
"""


def configuration(program: Sequence[str], workers: int = 0) -> str:
    return (
        f"[daemon]\nworkers = {workers}\n"
        '[service.files]\nplugin = "files"\nlisten = ["tcp:0:interface=127.0.0.1"]\n'
        f'options = {{ directory = "received", on_received = {json.dumps(program)} }}\n'
    )


def serving(start: Start, folder: Path, workers: int = 0) -> Daemon:
    program = [sys.executable, "-c", PROGRAM, str(folder)]
    daemon = start(configuration(program, workers), how="sockd")
    daemon.wait_for("ready")
    return daemon


def put(daemon: Daemon, name: str) -> None:
    with socket.create_connection(daemon.port("files"), PATIENCE) as connection:
        connection.sendall(f"put 5 - {name}\n12345".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("r").read().startswith(f"go\nok {name} 5 ")


def told(folder: Path) -> list[str]:
    file = folder / "told"
    return [json.loads(line)["name"] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_program_is_told_of_each_file_whichever_worker_has_received_it(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "open").touch()
    daemon = serving(start, tmp_path, workers=2)
    names = [f"{number}.txt" for number in range(10)]
    for name in names:
        put(daemon, name)
    wait_until(lambda: sorted(told(tmp_path)) == names)
    assert daemon.stop() == 0


def test_a_notice_outlives_the_daemon_that_is_killed(start: Start, tmp_path: Path) -> None:
    first = serving(start, tmp_path)
    put(first, "a.txt")
    failed = first.wait_for("received file not told")
    assert (failed["file"], failed["recipient"]) == ("a.txt", "program")
    assert failed["reason"].endswith("ended with exit code 1: the scanner is closed")
    first.process.kill()
    first.process.wait()
    (tmp_path / "open").touch()
    second = serving(start, tmp_path)
    wait_until(lambda: told(tmp_path) == ["a.txt"])
    assert second.stop() == 0
