"""Senders over the plugin's own protocols for streams."""

from __future__ import annotations

from contextlib import closing, suppress

from benchmarks.crash.sending import Conversation, Sending

_SIZE = (20 << 20) + 4321
"""Bytes of a file: three synchronizations, and an end within a block."""


class Upload:
    """Sender of whole files over `upload`."""

    protocol = "upload"
    resumes = False
    names = True
    size = _SIZE

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:  # noqa: ARG002  # cannot
        """Implement `Client.send`."""
        with suppress(ConnectionError), closing(_Answers(port, sending)) as answers:
            head = f"put {len(sending.data)} sha256={sending.sha256} {sending.name}\n"
            answers.talk(head.encode() + sending.data)


class Keep:
    """Sender over `upload` that goes on after a break."""

    protocol = "upload"
    resumes = True
    names = True
    size = _SIZE

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:
        """Implement `Client.send`."""
        with suppress(ConnectionError), closing(_Answers(port, sending)) as answers:
            head = f"keep {len(sending.data)} sha256={sending.sha256} {sending.name}\n"
            answers.begin(f"resume {sending.id}\n" if sending.id else head)
            if sending.found >= 0 and not (sending.refused or sending.vanished):
                answers.talk(sending.data[sending.found : leave_at], leave=leave_at is not None)


class Raw:
    """Sender over `raw`, with the digest behind the data."""

    protocol = "raw"
    resumes = False
    names = False
    size = _SIZE

    def send(self, port: int, sending: Sending, leave_at: int | None = None) -> None:  # noqa: ARG002  # cannot
        """Implement `Client.send`."""
        with suppress(ConnectionError), closing(_Answers(port, sending)) as answers:
            answers.talk(sending.data + f"sha256={sending.sha256}\n".encode(), end=True)


class _Answers:
    """Connection whose answers are noted."""

    def __init__(self, port: int, sending: Sending) -> None:
        self._sending = sending
        self._conversation = Conversation(port, self._note)
        self._leave = False
        sending.refused = ""
        sending.found = -1

    def begin(self, line: str) -> None:
        """Send the first line, and wait for its answer."""
        self._conversation.go_on(self._first)
        self._conversation.talk(line.encode())
        self._conversation.go_on(self._note)

    def talk(self, data: bytes, *, end: bool = False, leave: bool = False) -> None:
        """Send data until the file is stored or refused, or to leave, until some of it is durable."""
        self._leave = leave
        self._conversation.talk(data, end=end)

    def close(self) -> None:
        """Close the connection."""
        self._conversation.close()

    def _first(self, line: str) -> bool:
        self._note(line)
        return False

    def _note(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        sending = self._sending
        if word == "go":
            id_, _, offset = rest.partition(" ")
            if id_:
                sending.id, sending.found = id_, int(offset)
            return True
        if word == "at":
            sending.told = max(sending.told, int(rest))
            return not self._leave
        if word == "ok":
            sending.stored = rest.rsplit(" ", 2)[0]
        elif rest.startswith("unknown"):
            sending.vanished = True
        else:
            sending.refused = rest or line
        return False
