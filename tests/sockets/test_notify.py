"""Notifications to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from sockd.sockets.notify import MOST_DESCRIPTORS, VARIABLES, Notifier, taken_from


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"@{tmp_path}" if request.param == "abstract" else str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[socket.socket]:
    """Return systemd's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)
        end.setblocking(False)
        yield end


@pytest.fixture
def notifier(address: str) -> Iterator[Notifier]:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    yield notifier
    notifier.close()


def test_the_life_of_a_daemon_is_told_in_the_words_of_systemd(
    systemd: socket.socket, notifier: Notifier
) -> None:
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_has_the_time_at_which_it_began(systemd: socket.socket, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    word, _, stamp = systemd.recv(100).decode().partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before <= int(stamp) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line_whatever_is_in_it(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.describe = lambda: "5 services\nMAINPID=1"
    notifier.ready()
    notifier.stopping()
    status = rb"STATUS=5 services\x0aMAINPID=1"
    assert [systemd.recv(100) for _ in range(2)] == [b"READY=1\n" + status, b"STOPPING=1\n" + status]


def test_sockets_are_stored_and_forgotten_by_their_name(systemd: socket.socket, notifier: Notifier) -> None:
    with socket.socket() as kept:
        notifier.store([kept.fileno()], "echo")
        data, descriptors, _, _ = socket.recv_fds(systemd, 100, 10)
        with socket.socket(fileno=descriptors[0]) as copy:
            assert os.path.sameopenfile(copy.fileno(), kept.fileno())
    notifier.forget("echo")
    assert data == b"FDSTORE=1\nFDNAME=echo"
    assert systemd.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=echo"


def test_more_sockets_than_fit_into_a_message_are_stored_too(
    systemd: socket.socket, notifier: Notifier
) -> None:
    number = MOST_DESCRIPTORS + 1
    with socket.socket() as kept:
        notifier.store([kept.fileno()] * number, "many")
    arrived = [socket.recv_fds(systemd, 100, number)[1] for _ in range(2)]
    for descriptor in chain(*arrived):
        os.close(descriptor)
    assert [len(some) for some in arrived] == [MOST_DESCRIPTORS, 1]


def test_a_full_queue_neither_blocks_nor_fails(systemd: socket.socket, notifier: Notifier) -> None:
    sent = 10_000  # the kernel queues some hundred
    for _ in range(sent):
        notifier.watchdog()
    systemd.recv(100)
    notifier.ready()
    heard: list[bytes] = []
    while heard[-1:] != [b"READY=1"]:
        heard.append(systemd.recv(100))
    assert len(heard) < sent


def test_a_missing_manager_is_no_failure(notifier: Notifier) -> None:
    notifier.ready()
    notifier.store([0], "echo")


@pytest.mark.parametrize("address", ["", "relative", "@", "/" + "a" * 200, "/a\0b", "vsock:2:1"])
def test_an_address_that_is_none_is_no_failure(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.close()
    notifier.ready()


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    assert notifier.watchdog_interval is None


def test_a_closed_one_says_nothing_more(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.close()
    notifier.ready()
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_due_twice_in_the_time_that_systemd_waits(
    environ: dict[str, str], interval: float | None
) -> None:
    assert Notifier.from_environment(environ).watchdog_interval == interval


def test_programs_that_are_started_later_do_not_see_what_is_for_this_process_alone() -> None:
    environ = dict.fromkeys(VARIABLES, "1") | {"PATH": "/bin"}
    assert taken_from(environ) == dict.fromkeys(VARIABLES, "1")
    assert environ == {"PATH": "/bin"}
