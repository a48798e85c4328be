"""Faults that `sockd check` finds on the machine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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


def write_certificate(folder: Path, days: int) -> None:
    """Write a certificate for this machine to `c.pem`, its key to `k.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "k.pem").touch(0o600)
    (folder / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_files_of_tls_that_are_missing_are_found_at_their_keys(tmp_path: Path) -> None:
    write_certificate(tmp_path, days=90)
    os.mkfifo(tmp_path / "pipe")
    result = checked(
        tmp_path,
        tls('certificate = "c.pem"\nkey = "k"\nclient_ca = "pipe"\nmore = [{ certificate = "m" }]'),
    )
    assert result.exit_code == 1
    assert f"sockd.toml:8:7: service 'e': listen[0].tls.key: {tmp_path}/k: " in result.stderr
    assert "sockd.toml:9:13: service 'e': listen[0].tls.client_ca: " in result.stderr
    assert "sockd.toml:10:25: service 'e': listen[0].tls.more[0].certificate: " in result.stderr
    assert result.stderr.count("service 'e'") == 3


@pytest.mark.parametrize("option", ["--bind", "--json"])
def test_a_certificate_in_order_is_no_fault(tmp_path: Path, option: str) -> None:
    write_certificate(tmp_path, days=90)
    result = checked(tmp_path, tls('certificate = "c.pem"\nkey = "k.pem"'), option)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_certificate_that_ends_soon_is_told_and_is_no_fault(tmp_path: Path) -> None:
    write_certificate(tmp_path, days=3)
    result = checked(tmp_path, tls('certificate = "c.pem"\nkey = "k.pem"'))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {tmp_path}/c.pem: ")


def test_an_expired_certificate_is_a_fault_at_its_key(tmp_path: Path) -> None:
    write_certificate(tmp_path, days=0)
    result = checked(tmp_path, tls('certificate = "c.pem"\nkey = "k.pem"'))
    assert result.exit_code == 1
    assert "sockd.toml:7:15: service 'e': listen[0].tls.certificate: " in result.stderr


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


def test_a_service_that_one_worker_serves_alone_is_told(tmp_path: Path) -> None:
    text = '[daemon]\nworkers = 2\n[service.{0}]\nplugin = "{0}"\nlisten = ["tcp:0"]\n'
    assert "'chat'" in checked(tmp_path, text.format("chat")).stderr
    assert checked(tmp_path, text.format("echo")).stderr == ""


def test_a_configuration_may_come_through_a_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'[service.e]\nplugin = "echo"\nlisten = ["unix:run/e.sock"]\nx = 1\n')
    os.close(writing)
    result = CliRunner().invoke(check, ["-c", f"/dev/fd/{reading}"])
    os.close(reading)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"/dev/fd/{reading}:4:1: service 'e': unknown key 'x'")


@pytest.mark.parametrize(
    ("directory", "reason"),
    [("file", "{}/file is no folder"), ("file/in/it", "{}/file is no folder")],
)
def test_a_folder_for_files_that_cannot_be_is_found_at_its_key(
    tmp_path: Path, directory: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    result = checked(
        tmp_path,
        f'[service.f]\nplugin = "files"\nlisten = ["tcp:0"]\noptions.directory = "{directory}"\n',
    )
    assert result.exit_code == 1
    why = reason.format(tmp_path)
    assert f"4:21: service 'f': options.directory: no files can be received: {why}" in result.stderr


def test_a_folder_for_files_that_can_be_made_is_fine_and_is_not_made(tmp_path: Path) -> None:
    text = '[service.f]\nplugin = "files"\nlisten = ["tcp:0"]\noptions.directory = "a/b"\n'
    assert checked(tmp_path, text).exit_code == 0
    assert not (tmp_path / "a").exists()


def test_a_pattern_that_matches_no_file_is_no_fault_and_is_told(tmp_path: Path) -> None:
    text = 'daemon.include = ["more/*.toml"]\n[service.e]\nplugin = "echo"\nlisten = ["tcp:0"]\n'
    result = checked(tmp_path, text)
    assert result.exit_code == 0
    assert result.stderr == "warning: include: 'more/*.toml' matches no file\n"
