"""Receipts that are written beside the files, into a folder that no sender can send to."""

from __future__ import annotations

from collections.abc import Callable

from sockd.text import describe_os_error
from sockd_plugins.files.receipt.receipts import SUFFIX, Receipts, as_line
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.stored import Stored


class ReceiptFolder:
    """Folder of receipts: for the file `a/b.txt` there is `FOLDER/a/b.txt.receipt.json`.

    Args:
        name: of the folder, in the directory.
        receipts: signs them.
        store: where the files are.
        failed: told the path and the reason, from a thread, when a receipt cannot be written; the file stays.
    """

    def __init__(
        self, name: str, receipts: Receipts, store: Store, failed: Callable[[str, str], object]
    ) -> None:
        self._name = name
        self._receipts = receipts
        self._store = store
        self._failed = failed

    def attest(self, stored: Stored, sender: Sender) -> None:
        """Implement `Witness.attest`."""
        path = f"{self._name}/{stored.path}{SUFFIX}"
        try:
            receipt = as_line(self._receipts.issue(stored, sender))
            self._store.write_own(path, receipt.encode() + b"\n")
        except OSError as error:
            self._failed(path, describe_os_error(error))
        except FileRefused as error:
            self._failed(path, str(error))
