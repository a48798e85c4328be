"""Places for transfers: bounded in all, and for each source."""

from __future__ import annotations

from collections import Counter

from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.tftp.transfer import Gone, Transfer


class Places:
    """Places that the transfers of one service take, over all its listeners.

    Args:
        most: transfers at once.
        most_of_source: transfers of one source at once.
    """

    def __init__(self, most: int, most_of_source: int) -> None:
        self._most = most
        self._most_of_source = most_of_source
        self._taken: dict[Transfer, str] = {}
        self._of_source: Counter[str] = Counter()

    def take(self, source: str, transfer: Transfer) -> None:
        """Take a place. If there is none, the oldest transfer gives way whose client does not answer.

        The sender of a request may be forged; that of a block has probably seen an answer. While the disk
        works for a transfer it stays, so that no more work queues than there are places.

        Raises:
            FileRefused: there is no place.
        """
        if (had := self._of_source[source]) >= self._most_of_source:
            raise FileRefused(
                "too-many", f"a source may have {self._most_of_source} transfers, this one has {had}"
            )
        if len(self._taken) >= self._most:
            oldest = next((other for other in self._taken if other.gives_way), None)
            if oldest is None:
                raise FileRefused("too-many", f"all {self._most} places for transfers are taken")
            self.give_back(oldest)
            oldest.end(Gone())
        self._taken[transfer] = source
        self._of_source[source] += 1

    def give_back(self, transfer: Transfer) -> None:
        """Give the place of a transfer back, if it has one."""
        source = self._taken.pop(transfer, None)
        if source is not None:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]
