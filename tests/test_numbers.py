"""Numbers in the documentation are those of the code."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

import pytest

from sockd.config import Daemon
from sockd.config.budget import KEPT, kept
from sockd.datagram import loops
from sockd.limits import Terms
from sockd.supervisor.worker_process import SILENT_TICKS, TICK

DOCS = Path(__file__).parent.parent / "docs"

BIGGEST_READ = 256_000
"""Bytes of one read (uvloop)."""

NUMBERS: list[tuple[str, str, str, object]] = [
    ("behaviour", "mode 0640", "sockd.telemetry.sink:FILE_MODE", 0o640),
    ("behaviour", "five seconds", "sockd.serving.service:DRAIN_IDLE", 5),
    ("behaviour", "30 seconds", "sockd.serving.service:DRAIN_SPREAD", 30),
    ("behaviour", "one second after", "sockd.process.end:HURRY", 1),
    ("behaviour", "one each second", "sockd.process.debounce:LONGEST", 1),
    ("behaviour", "2 ms", "sockd.stream.pace:BUDGET", 0.002),
    ("behaviour", "64 KiB", "sockd.uvreactor.bare:HIGH_WATER", 64 * 1024),
    ("behaviour", "5 seconds", "sockd.sockets.linger:SILENT", 5),
    ("behaviour", "30 seconds", "sockd.sockets.linger:LONGEST", 30),
    ("behaviour", "at a stop: 1 second", "sockd.sockets.linger:AT_THE_END", 1),
    ("behaviour", "1,000", "sockd.sockets.linger:MOST", 1000),
    ("behaviour", "64 in a turn", "sockd.datagram.wire:BATCH", 64),
    ("behaviour", "port below 1024", "sockd.datagram.loops:FIRST_UNPRIVILEGED_PORT", 1024),
    ("behaviour", "20 of one kind", "sockd.telemetry.held:AT_ONCE", 20),
    ("behaviour", "one a minute", "sockd.telemetry.held:EVERY", 60),
    ("behaviour", "an IPv6 /64", "sockd.telemetry.held:PREFIX", 64),
    ("behaviour", "200, then one a second", "sockd.telemetry.held:ALL_AT_ONCE", 200),
    ("behaviour", "200, then one a second", "sockd.telemetry.held:ALL_EVERY", 1),
    ("behaviour", "8 MiB", "sockd_plugins.files.storage.upload:_STEP", 8 << 20),
    (
        "behaviour",
        "64 KiB for each peer at first",
        "sockd_plugins.files.storage.engine:LEAST_WINDOW",
        64 << 10,
    ),
    ("behaviour", "durable every 8 MiB", "sockd_plugins.files.storage.upload:SYNC_BYTES", 8 << 20),
    ("behaviour", "five minutes", "sockd_plugins.files.stream.pace:PATIENCE", 300),
    ("behaviour", "a minute", "sockd_plugins.files.stream.pace:STALL", 60),
    ("behaviour", "two seconds", "sockd_plugins.files.stream.raw:_WAIT_FOR_GO", 2),
    ("datagrams", "DSCP 7", "sockd.sockets.unicast:ANSWER", 7),
    ("datagrams", "below 1024", "sockd.datagram.loops:FIRST_UNPRIVILEGED_PORT", 1024),
    ("datagrams", "port below 32768", "sockd.datagram.loops:FIRST_DYNAMIC_PORT", 32768),
    ("datagrams", "last 64 contents", "sockd.datagram.loops:REMEMBERED", 64),
    ("datagrams", "64 datagrams in a row", "sockd.datagram.loops:FIRST_BUDGET", 64),
    ("datagrams", "16384th", "sockd.datagram.loops:NEW", 1 / 16384),
    ("datagrams", "two seconds", "sockd.datagram.loops:SILENCE", 2),
    ("datagrams", "1,000", "sockd.datagram.loops:NEXT_BUDGET", 1000),
    ("datagrams", "16 datagrams", "sockd.datagram.loops:MOST_IN_FLIGHT", 16),
    ("datagrams", "16,000", "sockd.datagram.loops:GROWTH", 16),
    ("datagrams", "five seconds", "sockd.datagram.loops:SOON", 5),
    ("deployment", "10 seconds later", "sockd.cli.systemd:STOP_MARGIN", 10),
    ("deployment", "systemd 253", "sockd.cli.systemd:NOTIFY_RELOAD", 253),
    ("deployment", "port below 1024", "sockd.cli.systemd:PRIVILEGED", 1024),
    ("limits", "1,000 at once", "sockd.stream.refusal:MOST_TARPITS", 1000),
    ("limits", "65,536", "sockd.limits.expiring:CAPACITY", 65536),
    ("limits", "256 counts", "sockd.limits.source_buckets:SHARED", 256),
    ("limits", "in ten seconds", "sockd.limits.penalties:PENALTY_WINDOW", 10),
    ("limits", "more than a second", "sockd.stream.open_connections:STALLED", 1),
    ("limits", "half a millisecond", "sockd.stream.pace:PIECE", 0.0005),
    ("limits", "2 ms", "sockd.stream.pace:BUDGET", 0.002),
    ("limits", "five seconds", "sockd.serving.server:IDLE", 5),
    ("limits", "within five seconds", "sockd.serving.server:CERTIFICATES_EVERY", 5),
    ("limits", "a second or two ahead", "sockd.stream.meter:BURST", 1),
    ("limits", "code point 7", "sockd.sockets.unicast:ANSWER", 7),
    ("operations-metrics", "64 connections", "sockd.control.pages:MOST_CONNECTIONS", 64),
    ("operations-metrics", "30 seconds", "sockd.control.pages:LIFETIME", 30),
    ("operations-metrics", "421", "sockd.control.pages:MISDIRECTED", 421),
    ("plugins", "5 seconds", "sockd.serving.plugin_start:BLOCKED_AT_RELOAD", 5),
    ("plugins", "five seconds", "sockd.process.end:PLUGIN_STOP_TIMEOUT", 5),
    ("plugins", "half a millisecond", "sockd.stream.pace:PIECE", 0.0005),
    ("plugins", "64 datagrams", "sockd.datagram.wire:BATCH", 64),
    ("plugins", "up to 32", "sockd.datagram.batch:MOST_WAITING", 32),
    ("plugins", "ports below 1024", "sockd.datagram.loops:FIRST_UNPRIVILEGED_PORT", 1024),
    ("uvreactor", "64 datagrams in one turn", "sockd.uvreactor.udp:BATCH", 64),
    ("uvreactor", "more than 64 KiB", "sockd.uvreactor.bare:HIGH_WATER", 64 * 1024),
    ("uvreactor", "ten seconds", "sockd.uvreactor.ports:COMPLAIN_EVERY", 10),
    ("workers", "0.5, 1, 2, 4 … 30 seconds", "sockd.supervisor.crew:BACK_OFF", (0, 0.5, 1, 2, 4, 8, 16, 30)),
    ("workers", "a quarter of a second", "sockd.supervisor.crew:KILLED_DELAY", 0.25),
    ("workers", "a second later", "sockd.supervisor.worker_process:ABORT_TIMEOUT", 1),
    ("workers", "within a second", "sockd.serving.worker:ORPHANED", 1),
    ("workers", "50 ms", "sockd.limits.admission:LOOK_EVERY", 0.05),
    ("workers", "30 seconds", "sockd.supervisor.succession:TRIAL_TIMEOUT", 30),
    ("workers", "30 seconds", "sockd.supervisor.worker_process:START_TIMEOUT", 30),
    (
        "workers",
        "eight processes",
        "sockd.supervisor.supervisor:SEATS_PER_WORKER",
        8,
    ),
]
"""A page, as few words of it as tell the number, the constant, and its value."""


def words(page: str) -> str:
    """Return the text of a page with its line breaks as blanks."""
    return " ".join((DOCS / f"{page}.md").read_text().split())


@pytest.mark.parametrize(("page", "told", "constant", "value"), NUMBERS)
def test_a_page_tells_the_value_of_a_constant(page: str, told: str, constant: str, value: object) -> None:
    assert resolve_name(constant) == value, f"docs/{page}.md says: {told}"
    assert told in words(page), f"docs/{page}.md does not say: {told}"


def test_pages_tell_what_is_made_of_several_constants() -> None:
    from sockd.process.end import HURRY, PLUGIN_STOP_TIMEOUT
    from sockd.sockets.linger import LONGEST, PAUSE
    from sockd.sockets.open import KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES
    from sockd.supervisor.role import GRACE
    from sockd_plugins.files.sftp.packets import WRITE_LENGTHS

    made = [
        ("behaviour", "within two minutes", KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES, 120),
        ("behaviour", "77 MB", round(BIGGEST_READ * LONGEST / PAUSE / 10**6), 77),
        ("datagrams", "a million datagrams", loops.MOST_REPEATS * loops.LOOK_EVERY // 10**6, 1),
        ("deployment", "and 6 more", PLUGIN_STOP_TIMEOUT + HURRY, 6),
        ("limits", "the last 192, or the last quarter", (KEPT, kept(400)), (192, 100)),
        ("limits", "more than ten times", Terms(1).penalty_after, 10),
        ("plugins", "`[daemon] start_timeout` (30 s)", Daemon().start_timeout, 30),
        ("workers", "and 8 seconds", PLUGIN_STOP_TIMEOUT + HURRY + GRACE, 8),
        (
            "files",
            "between 260959 and 261101 bytes",
            (min(WRITE_LENGTHS), max(WRITE_LENGTHS)),
            (260959, 261101),
        ),
        ("workers", "about 10 seconds", round(SILENT_TICKS * TICK), 10),
    ]
    for page, told, value, expected in made:
        assert value == expected, f"docs/{page}.md says: {told}"
        assert told in words(page), f"docs/{page}.md does not say: {told}"
