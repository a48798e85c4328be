"""Steps of the README, executed."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon

README = (Path(__file__).parent.parent.parent / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """Return the README's code block of a language that contains a text."""
    blocks: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return next(text for kind, text in blocks if kind == language and containing in text)


def test_the_first_plugin_has_about_twenty_lines_and_works(tmp_path: Path) -> None:
    code = block("python", "class Shout")
    assert len([line for line in code.splitlines() if line.strip()]) <= 22
    (tmp_path / "shout.py").write_text(code)
    command = (
        block("sh", "shout:Shout").replace("PYTHONPATH=. .venv/bin/sockd", "").replace("tcp:7100:", "tcp:0:")
    )
    daemon = Daemon(BIN / "sockd", *command.split(), cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    try:
        with socket.create_connection(daemon.ready().port("shout"), PATIENCE) as client:
            client.sendall(b"hello\nwor")
            client.sendall(b"ld\n")
            assert client.makefile("rb").read(18) == b"HELLO!!!\nWORLD!!!\n"
    finally:
        assert daemon.stop() == 0


def check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sockd", "check", *options], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_configuration_by_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(block("toml", "[service.files]"))
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_faults_by_example_are_what_check_says(tmp_path: Path) -> None:
    shown = block("", "$ sockd check").split("\n", 1)[1].strip()
    lines = [""] * 20
    for number, line in re.findall(r"^ +(\d+) \| (.+)$", shown, re.MULTILINE):
        lines[int(number) - 1] = line
    lines[6] = "[service.echo]"
    lines[7] = 'plugin = "echo"'
    lines[10] = "[service.echo.limits]"
    (tmp_path / "sockd.toml").write_text("\n".join(lines))
    done = check(tmp_path, "-c", "sockd.toml")
    assert done.returncode == 1
    assert shown in done.stdout + done.stderr


@pytest.mark.parametrize("file", ["sockd.toml", "reference.toml"])
def test_the_samples_are_valid(file: str, tmp_path: Path) -> None:
    sample = Path(__file__).parent.parent.parent / "config" / file
    (tmp_path / file).write_text(sample.read_text())
    done = check(tmp_path, "-c", file)
    assert done.returncode == 0, done.stdout + done.stderr
