from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sockd.ipc.child import start_worker


def test_an_interpreter_that_the_user_cannot_execute_is_told_with_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.touch(0o600)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(PermissionError) as told:
        start_worker()
    assert str(told.value).startswith("workers cannot start: the user ")
    assert str(told.value).endswith(f" cannot execute {python}")
