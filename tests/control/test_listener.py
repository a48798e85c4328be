"""The daemon's end of the control socket, over real UNIX sockets and with hostile peers."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from sockd.control.dialog import LONGEST_REQUEST
from sockd.control.listener import MAX_CONNECTIONS, PATIENCE, SILENT, open_control
from sockd.endpoint import UnixEndpoint
from sockd.errors import BindError
from tests.control.conftest import Peer, Serving

PING = b'{"command":"ping"}\n'
PONG = b'{"ok":true,"result":"pong"}'


def pings(serving: Serving) -> bool:
    """Whether somebody else is answered."""
    peer = serving.peer()
    peer.send(PING)
    answered = peer.line() == PONG
    peer.socket.close()
    serving.turn()
    return answered


def test_a_request_is_answered_with_one_line_and_the_next_one_too(serving: Serving) -> None:
    peer = serving.peer()
    peer.send(b'{"command":"pause","service":"echo"}\n')
    assert peer.line() == b'{"ok":true,"result":null}'
    peer.send(b'{"command":"status"}\n')
    assert [each["state"] for each in json.loads(peer.line())["result"]["services"]] == ["paused", "open"]


def test_a_request_may_come_byte_by_byte(serving: Serving) -> None:
    peer = serving.peer()
    for byte in PING:
        peer.send(bytes([byte]))
    assert peer.line() == PONG


def test_requests_that_come_at_once_are_answered_one_after_the_other(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    peer = serving.peer()
    peer.send(b'{"command":"drain"}\n' + b'{"command":"resume"}\n' + PING)
    serving.until(lambda: serving.operator.draining == 1)
    assert not peer.ended()
    assert serving.operator.states == {"echo": "open", "chat": "open"}
    serving.operator.drained.callback(None)
    assert [peer.line() for _ in range(3)] == [b'{"ok":true,"result":null}'] * 2 + [PONG]
    assert serving.operator.states == {"echo": "open", "chat": "open"}


def test_thousands_of_requests_at_once_are_all_answered(serving: Serving) -> None:
    peer = serving.peer()
    peer.send(PING * 3000)
    assert [peer.line() for _ in range(3000)] == [PONG] * 3000


def test_while_one_request_takes_long_others_are_answered(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    slow = serving.peer()
    slow.send(b'{"command":"drain"}\n')
    assert pings(serving)
    serving.advance(10 * PATIENCE)
    serving.operator.drained.callback(None)
    assert slow.line() == b'{"ok":true,"result":null}'


def test_who_asks_and_ends_its_side_still_gets_the_answers(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    peer = serving.peer()
    peer.send(b'{"command":"drain"}\n' + PING)
    peer.socket.shutdown(socket.SHUT_WR)
    assert not peer.ended()
    serving.operator.drained.callback(None)
    assert (peer.line(), peer.line()) == (b'{"ok":true,"result":null}', PONG)
    assert peer.ended()


def test_who_ends_its_side_and_reads_late_gets_every_answer(serving: Serving) -> None:
    serving.operator.padding = "x" * 1_000_000
    peer = serving.peer()
    peer.send(b'{"command":"status"}\n' * 20)
    peer.socket.shutdown(socket.SHUT_WR)
    serving.advance(PATIENCE / 2)
    assert [len(peer.line()) > 1_000_000 for _ in range(20)] == [True] * 20
    assert peer.ended()


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"status",
        b"5",
        b"[]",
        b"{}",
        b'{"command":5}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"command":' + b"9" * 10_000 + b"}",
    ],
)
def test_garbage_is_refused_and_the_connection_goes_on(serving: Serving, request_line: bytes) -> None:
    peer = serving.peer()
    peer.send(request_line + b"\n")
    answer = json.loads(peer.line())
    assert (answer["ok"], answer["error"]) == (
        False,
        'expected a JSON object with a "command" on one line, found something else',
    )
    peer.send(PING)
    assert peer.line() == PONG


def test_a_request_that_is_too_long_ends_the_connection_with_the_reason(serving: Serving) -> None:
    peer = serving.peer()
    peer.send(b"x" * (50 * LONGEST_REQUEST))
    assert b"expected a request of at most 65536 bytes, found a longer one" in peer.line()
    assert peer.ended()
    assert pings(serving)


def test_half_a_request_is_not_waited_for_longer_than_thirty_seconds(serving: Serving) -> None:
    peer = serving.peer()
    peer.send(PING)
    peer.line()
    for _ in range(6):
        peer.send(b"{")
        serving.advance(PATIENCE / 6 - 0.1)
    assert not peer.ended()
    serving.advance(1)
    assert peer.ended()


def test_who_leaves_answers_unread_is_answered_no_more_and_cut_at_last(serving: Serving) -> None:
    serving.operator.padding = "x" * 1_000_000
    peer = serving.peer()
    peer.send(b'{"command":"status"}\n' * 100)
    serving.advance(0)
    assert serving.operator.asked <= 3
    assert pings(serving)
    serving.advance(PATIENCE + 1)
    assert not serving.listener.open_ones


def test_more_connections_than_there_may_be_are_told_so(serving: Serving) -> None:
    peers = [serving.peer() for _ in range(100)]
    serving.until(lambda: len(serving.listener.open_ones) == MAX_CONNECTIONS)
    assert b"expected at most 32 connections" in peers[-1].line()
    assert peers[-1].ended()
    assert not peers[0].ended()
    peers[0].socket.close()
    serving.until(lambda: len(serving.listener.open_ones) < MAX_CONNECTIONS)
    assert pings(serving)


def test_the_connection_that_has_been_silent_for_longest_makes_room(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    busy = serving.peer()
    busy.send(b'{"command":"drain"}\n')
    silent = [serving.peer() for _ in range(MAX_CONNECTIONS - 1)]
    serving.until(lambda: len(serving.listener.open_ones) == MAX_CONNECTIONS)
    serving.advance(1)
    silent[0].send(PING)
    silent[0].line()
    serving.advance(SILENT - 1)
    assert pings(serving)
    assert sum(peer.ended() for peer in silent) == 1
    assert not silent[0].ended()
    serving.operator.drained.callback(None)
    assert busy.line() == b'{"ok":true,"result":null}'


def test_peers_that_gave_up_waiting_for_an_answer_leave_their_places(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    for _ in range(MAX_CONNECTIONS):
        peer = serving.peer()
        peer.send(b'{"command":"drain"}\n')
        peer.socket.close()
    serving.until(lambda: len(serving.listener.open_ones) == MAX_CONNECTIONS)
    assert pings(serving)
    serving.operator.drained.callback(None)


def test_a_fault_of_the_operator_is_an_answer_and_is_logged(serving: Serving) -> None:
    from twisted.logger import capturedLogs

    peer = serving.peer()
    with capturedLogs() as events:
        peer.send(b'{"command":"kick","id":"broken"}\n')
        answer = json.loads(peer.line())
    assert answer["error"].endswith(r"ZeroDivisionError: a fault\x0aof the \x1boperator")
    assert [event["log_format"] for event in events] == ["control fault"]
    assert pings(serving)


def test_the_end_of_the_daemon_lets_an_answer_out_and_takes_the_socket_away(serving: Serving) -> None:
    serving.operator.drained = Deferred()
    busy, idle = serving.peer(), serving.peer()
    busy.send(b'{"command":"drain"}\n')
    serving.until(lambda: len(serving.listener.open_ones) == 2 and serving.operator.draining == 1)
    closed = Deferred.fromCoroutine(serving.listener.close())
    serving.until(lambda: closed.called)
    assert idle.ended()
    assert not busy.ended()
    assert not serving.path.exists()
    serving.operator.drained.callback(None)
    assert busy.line() == b'{"ok":true,"result":null}'
    assert busy.ended()


def test_the_socket_and_its_folder_are_the_daemons_alone(serving: Serving) -> None:
    assert stat.S_IMODE(serving.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(serving.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    with pytest.raises(BindError, match="others can write to its folder; chmod 700"):
        open_control(UnixEndpoint("unix", tmp_path / "shared" / "c"))
    assert not (tmp_path / "shared" / "c").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BindError, match=r"cannot listen on unix:.*: (file exists|not a directory) \("):
        open_control(UnixEndpoint("unix", tmp_path / "file" / "c"))


STRANGER = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
os.setgid(65534)
os.setuid(65534)
sock.connect(sys.argv[1])
try:
    sock.sendall(b'{"command":"stop"}\\n')
except BrokenPipeError:
    pass
print(sock.recv(1000).decode(), end="")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_refused_even_where_the_files_let_it_in(serving: Serving) -> None:
    folder = serving.path.parent
    while folder != folder.parent and folder.name != "tmp":
        folder.chmod(0o755)
        folder = folder.parent
    serving.path.chmod(0o666)
    stranger = subprocess.Popen(
        [sys.executable, "-c", STRANGER, serving.path], stdout=subprocess.PIPE, text=True
    )
    while stranger.poll() is None:
        serving.turn()
    said, _ = stranger.communicate()
    reason = "expected root or the user 0, found the user 65534"
    assert json.loads(said) == {"ok": False, "error": reason, "code": "not-permitted"}
    assert not serving.operator.stopping


def test_each_half_sent_answer_ends_with_its_peer(serving: Serving) -> None:
    serving.operator.padding = "x" * 1_000_000
    peer: Peer = serving.peer()
    peer.send(b'{"command":"status"}\n')
    peer.socket.close()
    serving.until(lambda: not serving.listener.open_ones)
    assert pings(serving)
