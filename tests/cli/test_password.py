from __future__ import annotations

import pytest
from click.testing import CliRunner

from sockd.cli import main
from sockd.cli import password as command
from sockd_plugins.users.users import Users


def test_a_password_becomes_a_line_that_a_service_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_LOG_N", 1)
    result = CliRunner().invoke(main, ["password", "ann"], input="correct horse\nmore\n")
    assert result.exit_code == 0
    users = Users.read(result.output.encode(), str)
    assert users.has_password("ann", "correct horse")
    assert not users.has_password("ann", "correct")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", ".a", "-a", "#a", "a\n"])
def test_a_name_that_is_none_gets_no_line(name: str) -> None:
    assert CliRunner().invoke(main, ["password", "--", name], input="x\n").exit_code == 2
    assert CliRunner().invoke(main, ["password", "ann"], input="\n").exit_code == 1
