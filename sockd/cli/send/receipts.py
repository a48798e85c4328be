"""Receipts of a run, in files of a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sockd.cli.send.items import Item

SUFFIX = ".receipt.json"

_MOST_COPIES = 999  # receipts of files of one name


class ReceiptFolder:
    """Folder of receipts: for the file `a/b.txt` there is `FOLDER/a/b.txt.receipt.json`.

    Args:
        folder: made, if it is missing, with the first receipt.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, item: Item, receipt: str) -> Path:
        """Write a receipt as the server has signed it; an earlier one of the same name is kept.

        Args:
            item: the file; the name that it was sent under counts, not that which the server has given.
            receipt: as JSON.

        Returns:
            The file of the receipt.

        Raises:
            OSError: it cannot be written.
        """
        within = self._folder.joinpath(*(part for part in item.name.split("/") if part not in ("", "..")))
        within.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_COPIES + 1):
            numbered = f" ({number})" if number > 1 else ""
            path = within.with_name(f"{within.name}{numbered}{SUFFIX}")
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                continue
            with open(file, "w", encoding="utf-8") as opened:
                opened.write(receipt + "\n")
            return path
        raise FileExistsError(errno.EEXIST, "there are 999 receipts of this name", str(within))
