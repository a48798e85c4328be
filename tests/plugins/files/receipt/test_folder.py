from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs

from sockd.cli.verify import verify
from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored


class Service:
    """Service that writes receipts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder / "received"
        self.context = Context("drop", Clock(), Logger("sockd.drop"), folder / "state")
        self.plugin = Files(directory=self.folder, receipts="receipts", folders=True, **options)
        self.wait(self.plugin.start(self.context))

    @staticmethod
    def wait(work: Any) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(found.append)
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    async def _receive(self, name: str, data: bytes, sender: Sender) -> Stored:
        async with await self.plugin._engine.begin(Facts(name, len(data)), sender) as upload:
            await upload.write([data])
            return await upload.finish()

    def receives(self, name: str, data: bytes, sender: Sender | None = None) -> Stored:
        stored: Stored = self.wait(self._receive(name, data, sender or Sender("192.0.2.1")))
        return stored

    def stop(self) -> None:
        self.wait(self.plugin.stop())


@pytest.fixture
def service(tmp_path: Path) -> Any:
    found = Service(tmp_path)
    yield found
    found.stop()


def test_each_file_has_a_receipt_of_its_name_in_the_folder(service: Service) -> None:
    service.receives("a/b.txt", b"hello", Sender("192.0.2.1", "user:ann", "ann"))
    receipt = service.folder / "receipts" / "ann" / "a" / "b.txt.receipt.json"
    told = json.loads(receipt.read_text())
    assert (told["name"], told["size"], told["sender"], told["service"]) == ("a/b.txt", 5, "user:ann", "drop")
    result = CliRunner().invoke(verify, [str(receipt), str(service.folder / "ann" / "a" / "b.txt")])
    assert result.exit_code == 0, result.output


def test_no_sender_can_send_to_the_folder_of_receipts(service: Service) -> None:
    for name, sender in (
        ("receipts/a.txt", Sender()),
        ("receipts", Sender()),
        ("a", Sender(folder="receipts")),
    ):
        with pytest.raises(FileRefused, match="receipts is the service's own") as error:
            service.receives(name, b"x", sender)
        assert error.value.code == "bad-name"


def test_a_receipt_that_cannot_be_written_is_told_and_the_file_stays(service: Service) -> None:
    (service.folder / "receipts").mkdir()
    (service.folder / "receipts" / "a").write_text("in the way")
    with capturedLogs() as events:
        assert service.receives("a/b.txt", b"hello").path == "a/b.txt"
    (event,) = [event for event in events if event["log_format"] == "receipt not written"]
    assert event["file"] == "receipts/a/b.txt.receipt.json"
    assert event["reason"] == "expected a folder, found something else"
    assert (service.folder / "a" / "b.txt").read_bytes() == b"hello"
