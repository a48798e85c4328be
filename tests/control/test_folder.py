"""Folders in which somebody else could put another control socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sockd.control.client import Unreachable, ask
from sockd.control.folder import danger
from sockd.control.listener import open_control
from sockd.endpoint import UnixEndpoint
from sockd.errors import BindError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")

SOMEBODY = 65533


def chain(tmp_path: Path) -> Path:
    folder = tmp_path / "one" / "two" / "three"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def test_a_folder_of_ones_own_is_safe(tmp_path: Path) -> None:
    assert danger(chain(tmp_path), {os.geteuid()}) is None


@needs_root
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_folder_of_somebody_else_anywhere_on_the_way_is_named(tmp_path: Path, level: int) -> None:
    folder = chain(tmp_path)
    hers = [folder, *folder.parents][level]
    os.chown(hers, SOMEBODY, SOMEBODY)
    assert danger(folder, {SOMEBODY}) is None
    assert danger(folder, {os.geteuid()}) == (
        f"{hers} belongs to the user {SOMEBODY}, who could put another socket in its place"
    )
    with pytest.raises(BindError, match=f"{hers} belongs to the user {SOMEBODY}"):
        open_control(UnixEndpoint("unix", folder / "c"))
    open_control(UnixEndpoint("unix", folder / "c"), SOMEBODY).close()


def test_a_folder_above_that_others_can_write_to_is_named(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    above = folder.parent
    above.chmod(0o777)
    assert danger(folder, {os.geteuid()}) == f"others can write to {above}; chmod go-w {above}"
    above.chmod(0o1777)
    assert danger(folder, {os.geteuid()}) is None


def test_a_volume_of_a_container_may_be_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = chain(tmp_path)
    folder.parent.chmod(0o777)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == folder.parent)
    assert danger(folder, {os.geteuid()}) is None


@needs_root
def test_a_folder_above_that_a_group_of_several_can_write_to_is_named(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    folder.parent.chmod(0o775)
    assert danger(folder, {0}) is None  # root's own group
    os.chown(folder.parent, 0, SOMEBODY)
    folder.parent.chmod(0o775)
    assert "others can write to" in str(danger(folder, {0}))


@needs_root
def test_the_folder_that_holds_a_link_on_the_way_counts_too(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    hers = tmp_path / "hers"
    hers.mkdir()
    (hers / "link").symlink_to(folder)
    (tmp_path / "mine").symlink_to(hers / "link")
    assert danger(tmp_path / "mine", {0}) is None
    os.chown(hers, SOMEBODY, SOMEBODY)
    assert str(hers) in str(danger(tmp_path / "mine", {0}))


IMPOSTOR = """
import os, socket, sys
os.setgid(65533)
os.setuid(65533)
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen()
os.chmod(sys.argv[1], 0o666)
print(flush=True)
peer, _ = sock.accept()
print(peer.recv(1000).decode(), end="")
"""


@needs_root
def test_an_order_is_not_given_to_a_server_of_somebody_else(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    folder = tmp_path
    while folder != folder.parent and folder.name != "tmp":
        folder.chmod(0o755)
        folder = folder.parent
    command = [sys.executable, "-c", IMPOSTOR, str(shared / "c")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as impostor:
        assert impostor.stdout is not None
        impostor.stdout.readline()
        with pytest.raises(Unreachable, match=f"the user {SOMEBODY} answers at .*/c, who is neither root"):
            ask(shared / "c", "pause", 10, service=None)
        heard, _ = impostor.communicate()
    assert heard == ""


@needs_root
def test_the_owner_of_the_folder_may_serve(tmp_path: Path) -> None:
    folder = tmp_path / "his"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    above = tmp_path
    while above != above.parent and above.name != "tmp":
        above.chmod(0o755)
        above = above.parent
    code = IMPOSTOR + 'peer.sendall(b\'{"ok":true,"result":5}\\n\')'
    command = [sys.executable, "-c", code, str(folder / "c")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert ask(folder / "c", "ps", 10) == 5
        server.communicate()


def test_a_server_of_ones_own_may_serve(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "c"))
        listening.listen()
        with pytest.raises(Unreachable, match="no answer from"):
            ask(tmp_path / "c", "ps", 0.01)
