"""Answers to files, which the log gets too."""

from __future__ import annotations

from typing import Protocol

from sockd.plugin import Context
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.stored import Stored


class Answered(Protocol):
    """Peer that gets the answers."""

    host: str
    context: Context

    def say(self, line: str) -> None:
        """Send a line."""


def acknowledge(peer: Answered, stored: Stored, word: str = "ok") -> None:
    """Tell a peer that a file is stored.

    Args:
        peer: has sent it.
        stored: the file.
        word: begins the line.
    """
    peer.context.logger.info(
        "file received", file=stored.path, size=stored.size, digest=stored.digest, peer=peer.host
    )
    peer.say(f"{word} {stored.name} {stored.size} {stored.digest}")


def refuse(peer: Answered, refused: FileRefused) -> None:
    """Tell a peer that a file is refused, and the next one welcome."""
    log_refusal(peer, refused)
    peer.say(f"refused {refused.code} {refused}")


def log_refusal(peer: Answered, refused: FileRefused) -> None:
    """Write a refusal to the log."""
    peer.context.logger.info("file refused", code=refused.code, reason=str(refused), peer=peer.host)
