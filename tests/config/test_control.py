"""The `[control]` table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sockd.config import Config


def test_without_the_table_there_is_no_control_socket(config: Callable[[str], Config]) -> None:
    assert config("").control.listen is None
    assert config("[control]").control.listen is None


def test_the_path_counts_from_the_folder_of_the_file(config: Callable[[str], Config], tmp_path: Path) -> None:
    endpoint = config('[control]\nlisten = "unix:run/control.sock"').control.listen
    assert endpoint is not None
    assert (endpoint.path, endpoint.mode) == (tmp_path / "run/control.sock", 0o600)


def test_the_path_may_come_from_the_environment(config: Callable[[str], Config], tmp_path: Path) -> None:
    endpoint = config('[control]\nlisten = "unix:${ROOM}.sock"').control.listen
    assert endpoint is not None
    assert endpoint.path == tmp_path / "lobby.sock"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('"tcp:7007"', "expected a UNIX socket such as unix:run/control.sock, found 'tcp:7007'"),
        ('"unixgram:c"', "expected a UNIX socket such as unix:run/control.sock, found 'unixgram:c'"),
        ('"unix:c:mode=660"', "expected no mode but 600, as whoever can connect can stop the daemon"),
        ("7", "expected a UNIX socket such as unix:run/control.sock, found 7"),
    ],
)
def test_anything_but_a_unix_socket_of_the_daemons_own_is_a_fault(
    messages: Callable[[str], list[str]], written: str, message: str
) -> None:
    [found] = messages(f"[control]\nlisten = {written}")
    assert found.startswith(f"control.listen: {message}")
