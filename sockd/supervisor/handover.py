"""What one image of the supervisor leaves to the next: its state as JSON, and the descriptors that it names.

The next image has the same process, so that descriptors keep their numbers and workers their parent.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sockd.endpoint import parse
from sockd.sockets.open import BoundSocket

FORM = 1
"""Of the state, of the memory that holds the counts, and of what is said to workers that serve (`retire`,
`stop`, `status` …). An image that expects another form needs a restart of the daemon."""


class OtherForm(Exception):
    """The running supervisor cannot be followed by this code. Says why."""


@dataclass(frozen=True, slots=True)
class Handover:
    """The state, and every descriptor that has to stay open."""

    state: dict[str, Any]
    descriptors: Sequence[int]

    @contextmanager
    def written(self) -> Iterator[int]:
        """The descriptor of memory in which it is written, as `read` takes it."""
        descriptor = os.memfd_create("sockd handover")
        try:
            with open(os.dup(descriptor), "w") as file:
                json.dump({"form": FORM, "descriptors": list(self.descriptors), "state": self.state}, file)
            yield descriptor
        finally:
            os.close(descriptor)

    @classmethod
    def read(cls, descriptor: int) -> Handover:
        """What the former image has written; programs that are started do not inherit it.

        Raises:
            OtherForm: it is of another form.
        """
        with open(descriptor) as file:
            file.seek(0)
            written = json.load(file)
        if written["form"] != FORM:
            raise OtherForm(
                f"the running supervisor leaves a state of form {written['form']} and the installed code"
                f" takes one of form {FORM}: restart the daemon"
            )
        for each in written["descriptors"]:
            os.set_inheritable(each, False)
        return cls(written["state"], written["descriptors"])


def told(bound: BoundSocket) -> list[Any]:
    """A socket in JSON."""
    return [bound.socket.fileno(), str(bound.endpoint), bound.inode]


def retold(descriptor: int, endpoint: str, inode: Sequence[int] | None) -> BoundSocket:
    """The socket that was told of."""
    return BoundSocket(
        socket.socket(fileno=descriptor),
        parse(endpoint),  # type: ignore[arg-type]  # what is bound is not systemd's
        None if inode is None else (inode[0], inode[1]),
    )
