"""Wheel, built and installed into an empty environment, as a user installs it."""

from __future__ import annotations

import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without isolation: the build's requirements are in the test environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that has the wheel and its requirements only."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment, "install"]
    pip += ["--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", wheel], check=True, timeout=300)
    return environment / "bin"


def test_the_wheel_holds_the_packages_and_the_drop_in_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sockd", "sockd_plugins", "twisted"}
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/sockd_dropin.py"]
    assert "sockd/py.typed" in names


def test_twistd_has_the_command_and_sockd_its_version(installed: Path) -> None:
    listed = subprocess.run([installed / "twistd", "--help"], capture_output=True, text=True, check=True)
    assert "sockd" in listed.stdout
    version = subprocess.run([installed / "sockd", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("sockd ")


@pytest.mark.long
def test_an_installed_wheel_serves(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(
        '[service.echo]\nplugin = "echo"\nlisten = ["tcp:0:interface=127.0.0.1"]\n'
    )
    daemon = Daemon(installed / "twistd", "-n", "sockd", "-c", "sockd.toml", cwd=tmp_path)
    try:
        with socket.create_connection(daemon.ready().port("echo"), PATIENCE) as client:
            client.sendall(b"wheel")
            assert client.recv(100) == b"wheel"
    finally:
        assert daemon.stop() == 0


def test_every_plugin_of_the_wheel_can_be_used(installed: Path) -> None:
    listed = subprocess.run([installed / "sockd", "plugins"], capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stdout
    assert installed != BIN
