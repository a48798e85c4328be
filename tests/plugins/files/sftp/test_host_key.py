from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sockd_plugins.files.sftp.host_key import NAME, fingerprint, load_host_key, made_host_key


def test_a_host_key_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    key = made_host_key(tmp_path / "state")
    assert made_host_key(tmp_path / "state") == key
    assert stat.S_IMODE((tmp_path / "state" / NAME).stat().st_mode) == 0o600
    assert os.listdir(tmp_path / "state") == [NAME]
    assert key.sshType() == b"ssh-ed25519"
    assert fingerprint(key).startswith("SHA256:")


def test_a_file_that_is_no_private_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"", b"text", made_host_key(tmp_path).public().toString("OPENSSH")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="private key"):
            load_host_key(path)


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(made_host_key(tmp_path).toString("OPENSSH", passphrase=b"secret"))
    with pytest.raises(ValueError, match="without a passphrase"):
        load_host_key(path)
