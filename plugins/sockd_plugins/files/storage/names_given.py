"""Names of a batch of files that are not durable yet, and the folders that they are in."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Folder:
    """Open folder; the way to it is durable.

    Attributes:
        file: its descriptor.
        given: names that files have got, each with the contexts that note the file.
        found: names that were there already.
    """

    file: int
    given: dict[str, ExitStack] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)


class GivenNames:
    """Names in folders. Each folder is opened once, and one synchronization makes all names in it durable."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}

    @contextmanager
    def folder(self, within: str, opened: Callable[[], int]) -> Iterator[int]:
        """Return the descriptor of a folder, for as long as this context is open.

        Args:
            within: path of the folder.
            opened: opens it, and makes the way to it durable.
        """
        if within not in self._folders:
            self._folders[within] = _Folder(opened())
        yield self._folders[within].file

    def add(self, within: str, name: str) -> None:
        """Add a name that a file has got.

        Args:
            within: path of the folder, which is open.
            name: in it.
        """
        self._folders[within].given[name] = ExitStack()

    def find(self, within: str, name: str) -> None:
        """Add a name that was there already, perhaps not durably, and stays in any case."""
        self._folders[within].found.add(name)

    def hold(self, path: str, noted: ExitStack) -> None:
        """Keep the contexts open that note a file, until its name is durable; they are undone if it is lost.

        Args:
            path: of the file, whose name was added.
            noted: the contexts.
        """
        within, _, name = path.rpartition("/")
        self._folders[within].given[name] = noted

    def sync(self) -> set[str]:
        """Make the names durable; return the paths for which that failed. Names that were given go then."""
        lost: set[str] = set()
        while self._folders:
            within, folder = self._folders.popitem()
            try:
                os.fsync(folder.file)
            except OSError as error:
                _remove(folder.file, folder.given, error)
                names = {*folder.given, *folder.found}
                lost.update(f"{within}/{name}" if within else name for name in names)
            else:
                _close(folder.given.values())
            finally:
                os.close(folder.file)
        return lost

    def close(self) -> None:
        """Remove the names that were not made durable, after a fault."""
        while self._folders:
            _, folder = self._folders.popitem()
            _remove(folder.file, folder.given, OSError(errno.ECANCELED, "not synchronized"))
            os.close(folder.file)


def _remove(folder: int, names: dict[str, ExitStack], why: OSError) -> None:
    for name, noted in names.items():
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        with suppress(OSError):  # a note that the disk keeps is dropped later, or counts too much
            noted.__exit__(type(why), why, why.__traceback__)


def _close(all_noted: Collection[ExitStack]) -> None:
    for noted in all_noted:
        noted.close()
