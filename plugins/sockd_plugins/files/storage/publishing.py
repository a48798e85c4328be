"""Last step of an upload: the file gets its name, and all who have to know of it are told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace

from sockd_plugins.files.storage.bounds import check_allowed
from sockd_plugins.files.storage.names_given import GivenNames
from sockd_plugins.files.storage.parts import Part
from sockd_plugins.files.storage.refused import FileRefused, disk_errors
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.store import Store
from sockd_plugins.files.storage.stored import Stored

_AT_AN_END = ("expired", "quota")  # refusals of a sender that may send no more


def publish(
    store: Store,
    part: Part,
    sender: Sender,
    stored: Stored,
    names: GivenNames | None = None,
    *,
    new: bool = False,
) -> Stored:
    """Give a part its name, unless the same file is there already; when this returns, it is durable.

    A sender that may send no more, and has lost the answer to this file, gets it again: others may have moved
    the file away meanwhile.

    Args:
        store: where it is stored.
        part: with all its data.
        sender: whose it is.
        stored: what is known of it; its path is the wanted one.
        names: makes the name durable, together with others, and lets the witness know then; None to do both
            here.
        new: whether it must be the first file of its name, even if the other one has the same bytes.

    Returns:
        The same with the name and the path that it has got.

    Raises:
        FileRefused: its name is not accepted or has no numbers left, it has another digest than the file
            beside says, its sender has no right to it, or the disk fails.
    """
    check_allowed(store, stored.path)  # not every part of a file has a name of its own at the beginning
    with disk_errors():
        store.check_beside(part, stored.path)
        path = None if new else store.find_twin(part, stored.path, names)
    duplicate = path is not None
    if path is None:
        try:
            with ExitStack() as noted:
                noted.enter_context(_noted(store, part, sender, stored))
                with disk_errors():
                    path = store.publish(part, stored.path, sender, names, new=new)
                if names is not None:
                    names.hold(path, noted.pop_all())
        except FileRefused as refused:
            if refused.code not in _AT_AN_END or not _has_sent(sender, stored):
                raise
            path, duplicate = stored.path, True
    stored = replace(stored, name=_within(sender, path), path=path, duplicate=duplicate)
    if names is None:
        attest(store, sender, stored)
    return stored


def attest(store: Store, sender: Sender, stored: Stored) -> None:
    """Let the witness of a store know of a file that is durable under its name."""
    if store.witness is not None:
        store.witness.attest(stored, sender)


@contextmanager
def _noted(store: Store, part: Part, sender: Sender, stored: Stored) -> Iterator[None]:
    """Note durably that a file is published in this context; undone if that fails."""
    grant, notices = sender.grant, store.notices
    with nullcontext() if grant is None else grant.spend(stored.id, *_known(sender, stored)):
        if notices is None:
            yield
            return
        with disk_errors():
            notices.write(stored, sender, os.fstat(part.file).st_ino)
        try:
            yield
        except BaseException:  # whatever it was, nobody is told of a file that is not there
            with suppress(OSError):  # a notice without a file is dropped later
                notices.withdraw(stored.id)
            raise


def _has_sent(sender: Sender, stored: Stored) -> bool:
    with disk_errors():
        return sender.grant is not None and sender.grant.has_sent(*_known(sender, stored))


def _known(sender: Sender, stored: Stored) -> tuple[str, int, str]:
    """Return name, size and digest by which a sender's grant knows a file that comes again."""
    return _within(sender, stored.path), stored.size, stored.digest


def _within(sender: Sender, path: str) -> str:
    """Return a path as its sender sees it."""
    return path.removeprefix(f"{sender.folder}/") if sender.folder else path
