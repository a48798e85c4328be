"""What changes hands when a daemon goes on as another user."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sockd.process.ownership import Estate, Owner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

SOMEBODY = Owner(65533, 65532)


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def estate(folder: Path) -> Estate:
    """A log, a socket in a folder of its own, and a state folder."""
    (folder / "logs").mkdir()
    paths = (folder / "logs" / "log", folder / "run" / "deep" / "socket")
    return Estate(paths, folder / "var" / "state")


def fill(folder: Path) -> None:
    (folder / "logs" / "log").touch()
    (folder / "run" / "deep").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "run" / "deep" / "socket"))


def test_files_and_sockets_and_the_folders_made_for_them_change_hands(tmp_path: Path) -> None:
    made = estate(tmp_path)
    fill(tmp_path)
    made.hand_over(SOMEBODY)
    for name in ("logs/log", "run", "run/deep", "run/deep/socket", "var", "var/state"):
        assert owner(tmp_path / name) == (65533, 65532), name


def test_folders_that_were_there_before_stay_as_they_are(tmp_path: Path) -> None:
    made = estate(tmp_path)
    fill(tmp_path)
    made.hand_over(SOMEBODY)
    assert owner(tmp_path) == owner(tmp_path / "logs") == (0, 0)


def test_what_somebody_has_put_in_its_place_does_not_change_hands(tmp_path: Path) -> None:
    made = estate(tmp_path)
    secret = tmp_path / "secret"
    secret.touch()
    (tmp_path / "logs" / "log").hardlink_to(secret)
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "deep" / "socket").symlink_to(secret)
    made.hand_over(SOMEBODY)
    assert owner(secret) == (0, 0)


def test_devices_do_not_change_hands(tmp_path: Path) -> None:
    Estate((Path("/dev/null"),), tmp_path).hand_over(SOMEBODY)
    assert owner(Path("/dev/null"))[0] == 0


def test_what_is_missing_is_no_fault(tmp_path: Path) -> None:
    estate(tmp_path).hand_over(SOMEBODY)
