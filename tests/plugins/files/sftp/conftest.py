"""Services in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.files.sftp.client import Service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    service = Service(folder, folders=True)
    yield service
    service.engine.stop()
