"""Files of the service that a command of root may make: they belong to the daemon's user all the same."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing, for the owner of what is there."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(0o700, exist_ok=True)
        give_to_owner(missing)


def give_to_owner(path: Path) -> None:
    """Give what root has made to the owner of its folder, the daemon's user."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
