"""State that one image of the supervisor leaves to the next: JSON, and the descriptors that it names.

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
"""Version of the state, of the shared memory that holds counts, and of the commands to workers that serve
(`retire`, `stop`, `status` …). An image that expects another one needs a restart of the daemon."""


class OtherForm(Exception):
    """State of a supervisor that the installed code cannot take over. The text gives the reason."""


@dataclass(frozen=True, slots=True)
class Handover:
    """State, and every descriptor that has to stay open."""

    state: dict[str, Any]
    descriptors: Sequence[int]

    @contextmanager
    def written(self) -> Iterator[int]:
        """Yield the descriptor of a memory file with the state, as `read` takes it (memfd_create(2))."""
        descriptor = os.memfd_create("sockd handover")
        try:
            with open(os.dup(descriptor), "w") as file:
                json.dump({"form": FORM, "descriptors": list(self.descriptors), "state": self.state}, file)
            yield descriptor
        finally:
            os.close(descriptor)

    @classmethod
    def read(cls, descriptor: int) -> Handover:
        """Read what the former image has written, and keep its descriptors from programs that are started.

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


def socket_to_json(bound: BoundSocket) -> list[Any]:
    """Return a socket as JSON has it: descriptor, endpoint, device and inode of the path."""
    return [bound.socket.fileno(), str(bound.endpoint), bound.inode]


def socket_from_json(descriptor: int, endpoint: str, inode: Sequence[int] | None) -> BoundSocket:
    """Return the socket that `socket_to_json` has described."""
    return BoundSocket(
        socket.socket(fileno=descriptor),
        parse(endpoint),  # type: ignore[arg-type]  # what is bound is not systemd's
        None if inode is None else (inode[0], inode[1]),
    )
