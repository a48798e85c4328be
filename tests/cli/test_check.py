"""What `sockd check` finds by looking at the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sockd.cli.check import check


def checked(tmp_path: Path, text: str, *options: str) -> Result:
    path = tmp_path / "sockd.toml"
    path.write_text(text)
    return CliRunner().invoke(check, ["-c", str(path), *options])


def tls(files: str) -> str:
    return f"""
[service.e]
plugin = "echo"
[[service.e.listen]]
endpoint = "tcp:0"
[service.e.listen.tls]
{files}"""


def test_files_of_tls_that_are_missing_are_found_at_their_keys(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    os.mkfifo(tmp_path / "pipe")
    result = checked(
        tmp_path,
        tls('certificate = "there"\nkey = "k"\nclient_ca = "pipe"\nmore = [{ certificate = "m" }]'),
    )
    assert result.exit_code == 1
    assert (
        f"sockd.toml:8:7: service 'e': listen[0].tls.key: cannot read {tmp_path}/k: no such" in result.stderr
    )
    assert "sockd.toml:9:13: service 'e': listen[0].tls.client_ca: " in result.stderr
    assert "sockd.toml:10:25: service 'e': listen[0].tls.more[0].certificate: " in result.stderr
    assert result.stderr.count("service 'e'") == 3


def test_files_of_tls_that_can_be_read_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert checked(tmp_path, tls('certificate = "there"')).exit_code == 0
    assert checked(tmp_path, tls('certificate = "there"'), "--bind").exit_code == 0


def test_more_connections_than_descriptors_are_a_fault(tmp_path: Path) -> None:
    text = '[service.e]\nplugin = "echo"\nlisten = ["tcp:0"]\nlimits.max_connections = '
    assert checked(tmp_path, text + "5").exit_code == 0
    result = checked(tmp_path, text + "1_000_000_000")
    assert result.exit_code == 1
    assert "sockd.toml:4:26: service 'e': limits.max_connections: all services together" in result.stderr


@pytest.mark.parametrize("option", ["--json", "--bind"])
def test_an_endpoint_that_cannot_be_opened_is_told_as_such(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    result = checked(tmp_path, '[service.e]\nplugin = "echo"\nlisten = ["unix:file"]', option)
    assert result.exit_code == 1
    assert (
        f"service 'e': listen[0]: cannot listen on unix:{tmp_path}/file: a file that is no socket"
        in result.output
    )
