"""Engine in memory for the tests: nothing waits, and time passes when it is told to."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sockd_plugins.files.storage.engine import Engine, Incoming
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import PARTS, Limits, Store
from sockd_plugins.files.storage.stored import Stored

T = TypeVar("T")
GIB = 1 << 30
MIB = 1 << 20


class Running:
    """Result that may come later."""

    def __init__(self, awaited: Awaitable[T]) -> None:
        self.results: list[T] = []
        self.failures: list[Failure] = []

        async def run() -> None:
            self.results.append(await awaited)

        Deferred.fromCoroutine(run()).addErrback(self.failures.append)

    @property
    def is_over(self) -> bool:
        return bool(self.results or self.failures)

    def result(self) -> Any:
        for failure in self.failures:
            failure.raiseException()
        (result,) = self.results
        return result


def wait(awaited: Awaitable[T]) -> T:
    result: T = Running(awaited).result()
    return result


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        action()
    return f"{caught.value.code} {caught.value}"


class Worker:
    """Engine on a folder, as each worker process has one."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.engine = Engine(self.clock)
        wait(self.engine.open(lambda: Store.open(folder, Limits(**{"max_size": GIB, **limits}))))

    def begin(
        self, name: str = "a", size: int | None = None, sender: Sender | None = None, **options: Any
    ) -> Incoming:
        keep = options.pop("keep", False)
        return wait(self.engine.begin(Facts(name, size, **options), sender or Sender(), keep=keep))

    def find(self, id_: str, sender: Sender | None = None) -> Incoming:
        return wait(self.engine.find(id_, sender))

    def receive(
        self, name: str, data: bytes, sender: Sender | None = None, *, verified: bool = True, **options: Any
    ) -> Stored:
        upload = self.begin(name, len(data), sender)
        try:
            wait(upload.write([data]))
            return wait(upload.finish(verified=verified, **options))
        finally:
            wait(upload.abandon())

    def parts(self) -> list[str]:
        return sorted(os.listdir(self.folder / PARTS))

    def received(self) -> dict[str, bytes]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and PARTS not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def crash(upload: Incoming) -> None:
    """End an upload as the kernel does when its process is killed."""
    upload._upload._part.close()
    upload._leave()
