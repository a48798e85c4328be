"""Report of a run: a line for each file, a summary, and the exit code."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from sockd.cli.send.items import Item
from sockd.cli.send.receipts import ReceiptFolder
from sockd.cli.send.work import Outcome
from sockd.text import describe_os_error, printable

STORED, REFUSED, UNSENT, UNREADABLE, INTERRUPTED = 0, 1, 3, 4, 130
"""Exit codes; 2 is wrong usage. 130 is what a shell reports of a program that SIGINT has ended."""

_CODES = {"interrupted": INTERRUPTED, "unsent": UNSENT, "refused": REFUSED, "unreadable": UNREADABLE}
"""Exit code of each kind of failure; the first one that there is counts."""

_MOST_ALIKE = 5
"""Files that failed for the same reason, of which each has a line; the summary counts the others."""


class Report:
    """Report of a run, written as the outcomes come.

    Args:
        target: the service, as the person named it.
        as_json: whether each outcome is an object of JSON, in place of a line.
        quiet: whether only failures are told.
        receipts: takes the receipts; None if nobody asks for them.

    Attributes:
        ended: called with each item that has its outcome.
    """

    ended: Callable[[Item], object]

    def __init__(
        self, target: str, *, as_json: bool, quiet: bool, receipts: ReceiptFolder | None = None
    ) -> None:
        self.ended = lambda _: None
        self._target = target
        self._json = as_json
        self._quiet = quiet
        self._receipts = receipts
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._alike: Counter[str] = Counter()
        self._size = 0
        self._unwritten = 0  # receipts

    def tell(self, outcome: Outcome) -> None:
        """Tell the outcome of a file."""
        self.ended(outcome.item)
        self._counts[outcome.status] += 1
        if outcome.status in ("stored", "there"):
            self._size += outcome.size
            if self._receipts is not None:
                self._keep_receipt(self._receipts, outcome)
        if self._json:
            click.echo(json.dumps(_object(outcome)))
        elif outcome.status in ("stored", "there"):
            if not self._quiet:
                click.echo(printable(_line(outcome)))
        else:
            self._alike[outcome.why] += 1
            if self._alike[outcome.why] <= _MOST_ALIKE:
                text = f"cannot send {outcome.item.path} to {self._target}: {outcome.why}"
                click.echo(printable(text + _kept(outcome)), err=True)

    def _keep_receipt(self, receipts: ReceiptFolder, outcome: Outcome) -> None:
        """Write a receipt to its file; the exit code tells if that fails, as the file is stored."""
        why = "the server has sent none"
        try:
            if outcome.receipt:
                receipts.write(outcome.item, outcome.receipt)
                return
        except OSError as error:
            why = describe_os_error(error)
        self._unwritten += 1
        if not self._json:
            click.echo(printable(f"cannot write the receipt of {outcome.item.path}: {why}"), err=True)

    def skip(self, path: str, why: str) -> None:
        """Tell that something is no file."""
        self._counts["skipped"] += 1
        if self._json:
            click.echo(json.dumps({"file": printable(path), "status": "skipped", "why": why}))
        elif not self._quiet:
            click.echo(printable(f"skipped {path}: {why}"), err=True)

    def wait(self, why: str) -> None:
        """Tell that the run waits for the service."""
        if not self._quiet and not self._json:
            click.echo(printable(f"waiting for {self._target}: {why}"), err=True)

    def close(self) -> int:
        """Write the summary; return the exit code."""
        seconds = time.monotonic() - self._began
        sent = self._counts["stored"] + self._counts["there"]
        failed = sum(self._counts[kind] for kind in _CODES)
        stored = UNREADABLE if self._unwritten else STORED
        code = next((code for kind, code in _CODES.items() if self._counts[kind]), stored)
        if self._json:
            counts = {kind: self._counts[kind] for kind in ("stored", "there", *_CODES, "skipped")}
            rounded = round(seconds, 3)
            summary = {**counts, "size": self._size, "seconds": rounded, "exit_code": code}
            click.echo(json.dumps({"summary": summary}))
        elif not self._quiet:
            for why, count in self._alike.items():
                if count > _MOST_ALIKE:
                    more = f"cannot send {count - _MOST_ALIKE:,} more files: {why}"
                    click.echo(printable(more), err=True)
            if sent + failed > 1:
                rate = human(self._size / seconds) if seconds else "0 bytes"
                total = f"{sent:,} of {sent + failed:,} files stored, {human(self._size)}"
                click.echo(f"{total} in {seconds:.1f} s ({rate}/s)", err=True)
            elif not sent + failed:
                click.echo("there is no file to send", err=True)
        return code


def _object(outcome: Outcome) -> dict[str, object]:
    found: dict[str, object] = {"file": printable(outcome.item.path), "status": outcome.status}
    if outcome.status in ("stored", "there"):
        found |= {"name": outcome.name, "size": outcome.size, "digest": outcome.digest}
    else:
        found |= {"why": printable(outcome.why)}
        if outcome.item.id:
            found |= {"durable": outcome.item.durable}
    if outcome.receipt:
        found["receipt"] = json.loads(outcome.receipt)
    return found


def _line(outcome: Outcome) -> str:
    algorithm, _, digest = outcome.digest.partition("=")
    named = outcome.item.name if "/" in outcome.item.name else Path(outcome.item.path).name
    renamed = "" if outcome.name == named else f" as {outcome.name}"
    word = "sent" if outcome.status == "stored" else "there already:"
    return f"{word} {outcome.item.path}{renamed} ({human(outcome.size)}, {algorithm} {digest})"


def _kept(outcome: Outcome) -> str:
    """Tell how to go on with an upload that the server keeps."""
    item = outcome.item
    if not item.id or outcome.status not in ("unsent", "interrupted"):
        return ""
    kept = f"{human(item.durable)} of it are kept" if item.durable else "what has arrived of it is kept"
    return f"; {kept} there: the same command goes on with it"


def human(size: float) -> str:
    """Return a number of bytes in words."""
    if size < 1024:
        return f"{size:.0f} bytes"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"
