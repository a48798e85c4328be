from __future__ import annotations

from pathlib import Path

from sockd_plugins.files import Files
from sockd_plugins.files.sftp.host_key import made_host_key


def test_a_host_key_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    made_host_key(tmp_path)
    good = tmp_path / "ssh_host_ed25519_key"
    (tmp_path / "text").write_text("no key")
    found = {
        path.name: [option for option, _ in Files(directory=tmp_path / "in", host_key=path).problems()]
        for path in (good, tmp_path / "text", tmp_path / "none")
    }
    assert found == {good.name: [], "text": ["host_key"], "none": ["host_key"]}
