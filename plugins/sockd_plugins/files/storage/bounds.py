"""Bounds of an upload: which name and size it may have, and who may go on with it."""

from __future__ import annotations

from dataclasses import replace

from sockd_plugins.files.storage.names import pattern_of, safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.store import Store


def check_name(store: Store, name: str) -> None:
    """Refuse a name that no protocol may pass on, and a path where none may be given."""
    try:
        if safe_path(name) == name and (store.limits.folders or "/" not in name):
            return
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error
    raise FileRefused("bad-name", f"expected a plain file name, found a path: {name}")


def check_allowed(store: Store, name: str) -> None:
    """Refuse a name, or the last component of a path, that the service does not take."""
    last = name.rpartition("/")[2]
    if store.limits.names and not pattern_of(store.limits.names).fullmatch(last):
        expected = " or ".join(store.limits.names)
        raise FileRefused("bad-name", f"expected a name such as {expected}, found {last}")


def check_size(store: Store, size: int | None) -> None:
    """Refuse a size that is larger than that of any file may be."""
    if (size or 0) > (most := store.limits.max_size):
        raise FileRefused("too-large", f"expected at most {most} bytes, found {size}")


def owner_going_on(owner: Sender, sender: Sender | None) -> Sender:
    """Return the same as `owner_of`; refuse a sender whose right is at its end, too."""
    owner = owner_of(owner, sender)
    if owner.grant is not None:
        owner.grant.go_on()
    return owner


def owner_of(owner: Sender, sender: Sender | None) -> Sender:
    """Return the owner of an upload with the bounds of who goes on with it; refuse others than the owner."""
    if owner.key and (sender is None or sender.key != owner.key):
        raise FileRefused("denied", "this upload is another sender's")
    return owner if sender is None else replace(owner, grant=sender.grant, share=sender.share)
