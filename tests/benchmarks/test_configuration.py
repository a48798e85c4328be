from __future__ import annotations

import ssl
from pathlib import Path

from benchmarks.certificate import CERTIFICATE, KEY, Identity
from benchmarks.configuration import refusal


def test_the_plain_services_are_taken_as_they_are_written() -> None:
    assert refusal("tcp", {}) == ""
    assert refusal("udp", {"max_connections": "20_000"}) == ""


def test_a_limit_that_this_version_does_not_have_is_named() -> None:
    assert "max_nonsense" in refusal("tcp", {"max_nonsense": "1"})


def test_servers_can_load_the_certificate_and_only_its_owner_can_read_the_key(tmp_path: Path) -> None:
    Identity().write(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        tmp_path / CERTIFICATE, tmp_path / KEY
    )
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0
