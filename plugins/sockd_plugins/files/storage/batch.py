"""Small files that have come together, and are made durable together.

Their data is on its way to the disk before the first of them is waited for, and their names share one
synchronization of the folder. Each is whole and durable, or refused, as if it had come alone.

Every call here waits for the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sockd_plugins.files.storage.names_given import GivenNames
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.publishing import attest
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.upload import Upload

_FOR_WANT_OF_ROOM = ("too-many", "quota", "disk-full")


@dataclass(frozen=True, slots=True)
class Small:
    """Small file that has come whole.

    Attributes:
        facts: what the sender has announced.
        pieces: the data.
        digests: what the sender says they are, by their algorithms.
    """

    facts: Facts
    pieces: Sequence[Piece]
    digests: Mapping[str, str]


def store_all(store: Store, sender: Sender, files: Sequence[Small]) -> list[Stored | FileRefused]:
    """Store files; return for each what has become of it.

    Args:
        store: where they are to be stored.
        sender: who has sent them.
        files: in the order in which they get their names.
    """
    names = GivenNames()
    begun: deque[Upload | FileRefused] = deque()
    results: list[Stored | FileRefused] = []

    def name_all() -> None:
        while begun:
            file, upload = files[len(results)], begun.popleft()
            results.append(upload if isinstance(upload, FileRefused) else _named(upload, file, names))

    try:
        for file in files:
            upload = _begun(store, sender, file)
            if isinstance(upload, FileRefused) and upload.code in _FOR_WANT_OF_ROOM and begun:
                name_all()  # those before it do not count as unfinished any more
                upload = _begun(store, sender, file)
            begun.append(upload)
        name_all()
        lost = names.sync()
    finally:
        names.close()
        for upload in begun:  # after a fault
            if isinstance(upload, Upload):
                upload.close()
    for index, result in enumerate(results):
        if isinstance(result, Stored) and result.path in lost:
            results[index] = FileRefused("io", "the disk has failed")
        elif isinstance(result, Stored):
            attest(store, sender, result)
    return results


def _begun(store: Store, sender: Sender, file: Small) -> Upload | FileRefused:
    """Write a file into its part, and begin to write that to the disk."""
    try:
        upload = Upload.begin(store, file.facts, sender)
    except FileRefused as refused:
        return refused
    try:
        upload.write(*file.pieces)
        upload.start_sync()
    except BaseException as error:  # whatever it was, no part stays
        upload.close()
        if isinstance(error, FileRefused):
            return error
        raise
    return upload


def _named(upload: Upload, file: Small, names: GivenNames) -> Stored | FileRefused:
    """Give a file its name; its part does not count any more then."""
    try:
        return upload.commit(digests=file.digests, names=names)
    except FileRefused as refused:
        return refused
    finally:
        upload.close()
