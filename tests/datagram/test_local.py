"""UNIX datagrams: the sender is answered, and no other socket, wherever its path leads by then."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockd.config import SocketOptions
from sockd.datagram.local import LocalWire
from sockd.endpoint import parse
from sockd.sockets.open import SERVICE_BIT, open_socket
from sockd.telemetry.events import ServiceEvents

NOBODY = 65_534


class Ends:
    """Wire of a service, and sockets of peers."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self._stack = stack
        self.bound = open_socket(parse(f"unixgram:{folder}/service"), SocketOptions())
        stack.callback(self.bound.close)
        self.events = ServiceEvents("test", lambda: 0.0)
        self.wire = LocalWire(self.bound.socket, self.events)

    def peer(self, name: str | bytes = "peer") -> socket.socket:
        opened = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        opened.bind(str(self.folder / name) if isinstance(name, str) else name)
        opened.setblocking(False)
        return opened

    def ask(self, peer: socket.socket, user: int | None = None) -> None:
        """Send, as another user if one is given, which only root may do."""
        control = []
        if user is not None:
            credentials = struct.pack("iII", os.getpid(), user, user)
            control = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
        try:
            peer.sendmsg([b"question"], control, 0, self.bound.socket.getsockname())
        except PermissionError:
            pytest.skip("only root can send in the name of another user")

    def answer(self) -> None:
        """Answer all that was asked."""
        for datagram, _, name in self.wire.receive():
            assert datagram == b"question"
            self.wire.send(b"answer", name)

    def dropped(self, reason: str) -> int:
        return self.events.counts["datagram dropped", reason]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack, tmp_path)


def heard(peer: socket.socket) -> bytes:
    try:
        return peer.recv(100)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("name", ["peer", b"\0sockd-test-peer", b""])
def test_the_sender_of_a_datagram_is_answered(ends: Ends, name: str | bytes) -> None:
    """Senders with an abstract name, or one that the kernel has chosen (unix(7)), are answered too."""
    peer = ends.peer(name)
    ends.ask(peer)
    ends.answer()
    assert heard(peer) == b"answer"
    assert (ends.events.datagrams_sent, ends.events.sent) == (1, 6)


def test_an_answer_later_goes_by_the_name_and_what_belongs_to_it(ends: Ends) -> None:
    peer = ends.peer()
    ends.ask(peer)
    ((_, address, name),) = ends.wire.receive()
    ends.wire.send(b"later", ends.wire.destination(address, ends.wire.route(name)))
    assert heard(peer) == b"later"


def test_a_symbolic_link_at_the_path_of_the_sender_is_not_followed(ends: Ends) -> None:
    peer, victim = ends.peer(), ends.peer("victim")
    ends.ask(peer)
    (ends.folder / "peer").unlink()
    (ends.folder / "peer").symlink_to("victim")
    ends.answer()
    assert heard(victim) == b""
    assert ends.dropped("return address is no socket") == 1


def test_another_user_s_socket_is_not_answered_by_whichever_way_its_path_leads_there(ends: Ends) -> None:
    """A folder on the way may be a link, and the name may belong to another socket by now."""
    (ends.folder / "root").mkdir()
    victim = ends.peer("root/socket")
    (ends.folder / "nobody").mkdir()
    peer = ends.peer("nobody/socket")
    ends.ask(peer, NOBODY)
    (ends.folder / "nobody/socket").unlink()
    (ends.folder / "nobody").rmdir()
    (ends.folder / "nobody").symlink_to("root")
    ends.answer()
    assert heard(victim) == b""
    assert ends.dropped("return address is another user's") == 1


def test_another_user_is_answered_at_a_socket_of_his_own(ends: Ends) -> None:
    peer = ends.peer()
    ends.ask(peer, NOBODY)
    os.chown(ends.folder / "peer", NOBODY, NOBODY)
    ends.answer()
    assert heard(peer) == b"answer"


def test_root_is_answered_wherever_it_has_bound_its_socket(ends: Ends) -> None:
    peer = ends.peer()
    ends.ask(peer, 0)
    os.chown(ends.folder / "peer", NOBODY, NOBODY)
    ends.answer()
    assert heard(peer) == b"answer"


def test_services_do_not_answer_each_other_nor_themselves(ends: Ends) -> None:
    other = open_socket(parse(f"unixgram:{ends.folder}/other"), SocketOptions())
    for service in (other, ends.bound):
        service.socket.sendto(b"question", ends.bound.socket.getsockname())
    ends.answer()
    assert heard(other.socket) == b""
    assert ends.dropped("return address is a service") == 2
    other.close()


def test_only_datagram_sockets_of_services_are_told_by_their_mode(tmp_path: Path) -> None:
    for scheme, told in (("unix", 0), ("unixgram", SERVICE_BIT)):
        bound = open_socket(parse(f"{scheme}:{tmp_path}/{scheme}"), SocketOptions())
        assert (tmp_path / scheme).stat().st_mode & SERVICE_BIT == told
        bound.close()


def test_a_path_that_is_gone_is_counted(ends: Ends) -> None:
    peer = ends.peer()
    ends.ask(peer)
    (ends.folder / "peer").unlink()
    ends.answer()
    assert ends.dropped("ENOENT") == 1


def test_descriptors_that_a_peer_sends_do_not_stay_open(ends: Ends) -> None:
    peer = ends.peer()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", 0, 0, 0))]
        peer.sendmsg([b"question"], rights, 0, ends.bound.socket.getsockname())
        ends.answer()
        assert heard(peer) == b"answer"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_datagram_from_before_anybody_asked_for_its_sender_is_delivered_and_not_answered(
    tmp_path: Path,
) -> None:
    """The socket may have been opened by another process, without SO_PASSCRED."""
    with ExitStack() as stack:
        ends = Ends(stack, tmp_path)
        ends.bound.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        peer = ends.peer()
        ends.ask(peer)
        ends.wire = LocalWire(ends.bound.socket, ends.events)
        ends.answer()
        assert heard(peer) == b""
        assert ends.dropped("return address is another user's") == 1
