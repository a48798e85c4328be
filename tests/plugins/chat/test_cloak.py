from __future__ import annotations

from pathlib import Path

from sockd_plugins.chat.hub.cloak import FILE, Cloaks, keep_secret


def test_the_same_address_has_the_same_cloak_and_no_other() -> None:
    cloaks = Cloaks()
    assert cloaks.of("192.0.2.1") == cloaks.of("192.0.2.1") != cloaks.of("192.0.2.2")
    assert cloaks.of("2001:db8::1") == cloaks.of("2001:db8::2") != cloaks.of("2001:db8:1::1")
    assert cloaks.of("fe80::1%eth0") == cloaks.of("fe80::1%eth1")
    assert cloaks.of("192.0.2.1") != Cloaks().of("192.0.2.1")
    assert cloaks.of("/run/chat.sock") == cloaks.of("-") == "-"


def test_the_secret_of_a_folder_stays_the_same_and_is_the_daemons_own(tmp_path: Path) -> None:
    secret = keep_secret(tmp_path / "state")
    assert keep_secret(tmp_path / "state") == secret != keep_secret(tmp_path / "other")
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


def test_a_secret_that_was_not_written_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    secret = keep_secret(tmp_path)
    assert len(secret) == 16
    assert keep_secret(tmp_path) == secret
