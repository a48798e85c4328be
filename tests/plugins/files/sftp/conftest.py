"""Services in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.files.sftp.client import Service
from tests.plugins.files.sftp.conversation import Conversation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    service = Service(folder, folders=True)
    yield service
    service.engine.stop()


@pytest.fixture
def conversation(service: Service, tmp_path: Path) -> Iterator[Conversation]:
    conversation = Conversation(service, tmp_path)
    conversation.connect()
    yield conversation
    conversation.lose()
    assert not conversation.clock.getDelayedCalls()
