from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.files.storage.engines import Worker

Opener = Callable[..., Worker]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens the engine of a worker; all have one folder."""
    workers = []

    def open_worker(**limits: Any) -> Worker:
        worker = Worker(tmp_path / "in", **limits)
        workers.append(worker)
        return worker

    yield open_worker
    for worker in workers:
        worker.engine.stop()


@pytest.fixture
def worker(opened: Opener) -> Worker:
    return opened()
