# mypy: disable-error-code="no-untyped-call"
# The classes of Twisted that this derives from have no annotations.
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key

from sockd_plugins.files.sftp import packets
from sockd_plugins.files.sftp.channels import LEAST_PACKET, MOST_CHANNELS, PACKET
from sockd_plugins.files.sftp.fields import long, number, string
from sockd_plugins.files.sftp.login import MOST_PASSWORDS, MOST_TRIES
from sockd_plugins.files.sftp.transport import LOGIN_SECONDS
from sockd_plugins.files.storage.sender import Sender
from tests.plugins.files.sftp.client import TRUNCATE, Service
from tests.plugins.files.sftp.conversation import (
    FAILURE,
    KEY,
    KEY_FITS,
    OTHER_KEY,
    SUCCESS,
    TOKEN,
    Conversation,
    reason,
)

KINDS = {
    b"ssh-ed25519": Key(Ed25519PrivateKey.from_private_bytes(b"\1" * 32)),
    b"ecdsa-sha2-nistp256": Key(ec.derive_private_key(12345, ec.SECP256R1())),
    b"ecdsa-sha2-nistp384": Key(ec.derive_private_key(12345, ec.SECP384R1())),
    b"ecdsa-sha2-nistp521": Key(ec.derive_private_key(12345, ec.SECP521R1())),
    b"rsa-sha2-256": (RSA := Key(rsa.generate_private_key(65537, 2048))),
    b"rsa-sha2-512": RSA,
}


def test_a_client_of_conch_agrees_on_keys(conversation: Conversation) -> None:
    assert conversation.client.secure
    assert conversation.client.currentEncryptions.outCipType == b"aes256-ctr"


def test_a_file_is_received(conversation: Conversation, folder: Path) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    request = packets.packet(packets.OPEN, number(1), string("a"), number(TRUNCATE), number(0))
    handle = conversation.send(request)[13:]
    data = bytes(range(256)) * 100
    write = packets.packet(packets.WRITE, number(2), string(handle), long(0), string(data))
    conversation.send(write)
    conversation.send(packets.packet(packets.CLOSE, number(3), string(handle)))
    assert (folder / "ann" / "a").read_bytes() == data


def test_the_exit_status_follows_the_end_of_the_data(conversation: Conversation) -> None:
    """Without it scp ends with 1, though everything is stored."""
    conversation.open_session()
    answers = conversation.say(96, number(0))
    assert answers[0] == (98, number(0) + NS(b"exit-status") + b"\0" + number(0))
    assert [kind for kind, _ in answers] == [98, 96, 97]


def test_environment_shell_and_commands_are_refused_quietly(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    conversation.say(90, NS(b"session") + number(0) + number(1 << 20) + number(32768))
    for kind, rest in [
        (b"env", NS(b"LANG") + NS(b"C")),
        (b"shell", b""),
        (b"exec", NS(b"md5sum")),
        (b"\xff", b""),
    ]:
        assert conversation.say(98, number(0) + NS(kind) + b"\1" + rest) == [(100, number(0))]
        assert conversation.say(98, number(0) + NS(kind) + b"\0" + rest) == []


def test_signs_of_life_are_answered(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    assert conversation.say(80, NS(b"keepalive@openssh.com") + b"\1") == [(82, b"")]


def test_channels_are_bound_in_number_and_kind(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    request = NS(b"session") + number(0) + number(1 << 20) + number(32768)
    opened = [conversation.say(90, request)[0][0] for _ in range(MOST_CHANNELS + 1)]
    assert opened == [91] * MOST_CHANNELS + [92]
    assert conversation.say(90, NS(b"direct-tcpip") + request[11:])[0][0] == 92


def test_more_data_than_a_packet_may_have_ends_the_connection(conversation: Conversation) -> None:
    conversation.open_session()
    answers = conversation.say(94, number(0) + NS(bytes(PACKET + 1)))
    assert reason(answers) == b"a client has sent more than it may"


def test_the_right_password_and_no_other_logs_in(conversation: Conversation) -> None:
    assert conversation.log_in("ann", "wrong")[0][0] == FAILURE
    assert conversation.try_password("bob", "secret")[0][0] == FAILURE
    assert conversation.try_password("ann", "secret") == [(SUCCESS, b"")]


def test_wrong_passwords_are_bound_in_number(conversation: Conversation) -> None:
    conversation.log_in("ann", "wrong")
    for _ in range(MOST_PASSWORDS - 2):
        assert conversation.try_password("ann", "wrong")[0][0] == FAILURE
    assert reason(conversation.try_password("ann", "wrong")) == b"too many refused tries"
    refused = [event for event in conversation.told if event["log_format"] == "login refused"]
    assert [event["code"] for event in refused] == ["denied"] * MOST_PASSWORDS


def test_the_number_of_tries_counts_for_the_whole_connection(conversation: Conversation) -> None:
    for attempt in range(MOST_TRIES):
        conversation.say(5, NS(b"ssh-userauth"))
        answers = conversation.say(50, NS(b"ann") + NS(b"ssh-connection") + NS(b"other"))
        assert (answers[0][0] == 1) == (attempt == MOST_TRIES - 1)


@pytest.mark.parametrize(("user", "password"), [(TOKEN, ""), ("anybody", TOKEN)])
def test_a_token_is_a_user_or_a_password(conversation: Conversation, user: str, password: str) -> None:
    assert conversation.log_in(user, password) == [(SUCCESS, b"")]


def key_request(
    conversation: Conversation, key: Key, signer: Key | None, algorithm: bytes, user: bytes = b"ann"
) -> bytes:
    blob = key.blob()
    head = NS(user) + NS(b"ssh-connection") + NS(b"publickey")
    if signer is None:
        return head + b"\0" + NS(algorithm) + NS(blob)
    request = head + b"\1" + NS(algorithm) + NS(blob)
    session = conversation.client.sessionID
    assert session is not None
    return request + NS(signer.sign(NS(session) + b"\x32" + request, algorithm))


def test_the_right_key_logs_in(conversation: Conversation) -> None:
    conversation.say(5, NS(b"ssh-userauth"))
    asked = key_request(conversation, KEY, None, b"ssh-ed25519")
    assert conversation.say(50, asked) == [(KEY_FITS, NS(b"ssh-ed25519") + NS(KEY.blob()))]
    assert conversation.say(50, key_request(conversation, KEY, KEY, b"ssh-ed25519")) == [(SUCCESS, b"")]


@pytest.mark.parametrize("algorithm", KINDS)
def test_keys_of_all_kinds_log_in(conversation: Conversation, algorithm: bytes) -> None:
    key = KINDS[algorithm]
    conversation.access.keys = (key.blob(),)
    conversation.say(5, NS(b"ssh-userauth"))
    assert conversation.say(50, key_request(conversation, key, key, algorithm)) == [(SUCCESS, b"")]


def test_a_security_key_logs_in(conversation: Conversation) -> None:
    """Its signature is that of what the key has hashed, a flag and a counter (PROTOCOL.u2f of OpenSSH)."""
    algorithm, secret = b"sk-ssh-ed25519@openssh.com", Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
    blob = NS(algorithm) + NS(secret.public_key().public_bytes_raw()) + NS(b"ssh:")
    conversation.access.keys = (blob,)
    request = NS(b"ann") + NS(b"ssh-connection") + NS(b"publickey") + b"\1" + NS(algorithm) + NS(blob)
    message = NS(conversation.client.sessionID or b"") + b"\x32" + request
    flags = b"\1" + number(7)
    hashed = [hashlib.sha256(part).digest() for part in (b"ssh:", message)]
    signature = secret.sign(hashed[0] + flags + hashed[1])
    conversation.say(5, NS(b"ssh-userauth"))
    wrong = request + NS(NS(algorithm) + NS(signature) + b"\1" + number(8))
    assert conversation.say(50, wrong)[0][0] == FAILURE
    right = request + NS(NS(algorithm) + NS(signature) + flags)
    assert conversation.say(50, right) == [(SUCCESS, b"")]


def test_a_key_needs_its_own_signature(conversation: Conversation) -> None:
    conversation.say(5, NS(b"ssh-userauth"))
    for request in [
        key_request(conversation, KEY, OTHER_KEY, b"ssh-ed25519"),
        key_request(conversation, KEY, RSA, b"rsa-sha2-256"),
        key_request(conversation, OTHER_KEY, OTHER_KEY, b"ssh-ed25519"),
    ]:
        assert conversation.say(50, request)[0][0] == FAILURE


def test_where_all_may_send_any_key_logs_in(conversation: Conversation) -> None:
    conversation.access.open = True
    conversation.say(5, NS(b"ssh-userauth"))
    signed = key_request(conversation, OTHER_KEY, OTHER_KEY, b"ssh-ed25519", b"guest")
    assert conversation.say(50, signed) == [(SUCCESS, b"")]


def test_where_all_may_send_no_proof_is_needed(conversation: Conversation) -> None:
    conversation.access.open = True
    conversation.say(5, NS(b"ssh-userauth"))
    request = NS(b"guest") + NS(b"ssh-connection") + NS(b"none")
    assert conversation.say(50, request) == [(SUCCESS, b"")]


def test_where_all_may_send_a_user_still_logs_in_as_that_user(conversation: Conversation) -> None:
    """Clients try to log in without a proof first, then with each of their keys."""
    conversation.access.open = True
    conversation.say(5, NS(b"ssh-userauth"))
    request = NS(b"ann") + NS(b"ssh-connection") + NS(b"none")
    assert conversation.say(50, request)[0][0] == FAILURE
    other = key_request(conversation, OTHER_KEY, OTHER_KEY, b"ssh-ed25519")
    assert conversation.say(50, other)[0][0] == FAILURE
    assert conversation.say(50, key_request(conversation, KEY, KEY, b"ssh-ed25519")) == [(SUCCESS, b"")]


def test_a_login_has_a_deadline(conversation: Conversation) -> None:
    conversation.pump(LOGIN_SECONDS - 1)
    assert not conversation.wire.disconnecting
    conversation.pump(1.0)
    assert reason(conversation.client.packets) == b"expected a login within 60 seconds"
    assert conversation.wire.disconnecting


def test_silence_has_the_same_deadline(service: Service, tmp_path: Path) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    conversation.clock.advance(LOGIN_SECONDS)
    assert conversation.wire.disconnecting
    conversation.lose()


def test_after_the_login_there_is_no_deadline(conversation: Conversation) -> None:
    conversation.log_in()
    conversation.pump(LOGIN_SECONDS * 100)
    assert not conversation.wire.disconnecting


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"put 5 - a\nhello", b"SSH-1.5-old\r\n", b"x" * 300]
)
def test_a_peer_that_speaks_another_protocol_is_told_in_one_line(
    service: Service, tmp_path: Path, data: bytes
) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    conversation.peer.dataReceived(data)
    assert conversation.wire.value().endswith(b"expected a client of SSH: sftp or scp\r\n")
    assert conversation.wire.disconnecting
    conversation.lose()


@pytest.mark.parametrize(
    "packet", [number(16) + b"\4" + bytes(15), b"\xff" * 40, number(12) + b"\4\5" + bytes(10)]
)
def test_malformed_packets_end_the_connection(service: Service, tmp_path: Path, packet: bytes) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    conversation.peer.dataReceived(b"SSH-2.0-x\r\n" + packet * 3)
    conversation.lose()
    assert not conversation.clock.getDelayedCalls()


@pytest.mark.parametrize("kind", [5, 20, 21, 30, 50, 80, 90, 93, 94, 95, 96, 97, 98, 200])
def test_malformed_messages_end_the_connection_at_most(conversation: Conversation, kind: int) -> None:
    conversation.log_in()
    for payload in (b"", b"\0", number(7) * 5, b"\xff" * 50):
        conversation.client.sendPacket(kind, payload)
    conversation.client_wire.clear() if kind in (20, 21) else conversation.pump()


def test_nothing_is_asked_before_there_are_keys(service: Service, tmp_path: Path) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    request = NS(b"ssh-userauth")
    packet = number(24 + 4) + b"\x0b\5" + request + bytes(11)
    conversation.peer.dataReceived(b"SSH-2.0-x\r\n" + packet)
    assert conversation.wire.disconnecting
    conversation.lose()


def test_a_lost_connection_keeps_what_came(conversation: Conversation, service: Service) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    request = packets.packet(packets.OPEN, number(1), string("a"), number(TRUNCATE), number(0))
    handle = conversation.send(request)[13:]
    conversation.send(packets.packet(packets.WRITE, number(2), string(handle), long(0), string(b"begin")))
    conversation.lose()
    unfinished = service.run(service.engine.search("a", Sender("-", "user:ann", "ann")))
    assert (unfinished.durable, unfinished.busy) == (5, False)


def test_a_channel_has_one_session(conversation: Conversation) -> None:
    """A session that has ended leaves its channel open until the client closes it, too."""
    conversation.open_session()
    subsystem = number(0) + NS(b"subsystem") + b"\1" + NS(b"sftp")
    assert conversation.say(98, subsystem) == [(100, number(0))]
    conversation.send(number(1 << 20) + b"\0")  # ends the session
    assert conversation.say(98, subsystem) == []
    conversation.send(packets.packet(packets.INIT, number(3)))
    assert conversation.client.packets == []


def test_packets_of_a_few_bytes_are_not_served(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    request = NS(b"session") + number(0) + number(1 << 20)
    assert conversation.say(90, request + number(LEAST_PACKET - 1))[0][0] == 92
    assert conversation.say(90, request + number(LEAST_PACKET))[0][0] == 91


def test_a_login_after_the_login_is_ignored(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    assert conversation.try_password("ann", "secret") == []


def test_answers_wait_for_the_window_of_the_client(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    conversation.say(90, NS(b"session") + number(0) + number(0) + number(32768))
    conversation.say(98, number(0) + NS(b"subsystem") + b"\0" + NS(b"sftp"))
    assert conversation.send(packets.packet(packets.INIT, number(3))) == b""
    answers = [*conversation.say(93, number(0) + number(5))]
    answers += conversation.say(93, number(0) + number(0xFFFFFFFF))
    assert [len(payload) for _, payload in answers] == [8 + 5, 8 + len(packets.version()) - 5]


def test_a_client_that_leaves_its_window_closed_is_disconnected(conversation: Conversation) -> None:
    assert conversation.log_in()[0][0] == SUCCESS
    conversation.say(90, NS(b"session") + number(0) + number(0) + number(32768))
    conversation.say(98, number(0) + NS(b"subsystem") + b"\0" + NS(b"sftp"))
    conversation.send(packets.packet(packets.INIT, number(3)))
    path = packets.packet(packets.REALPATH, number(1), string("a/" * 20_000))
    while not conversation.wire.disconnecting:
        conversation.send(path)
    assert reason(conversation.client.packets) == b"answers are not read"


def test_all_uploads_of_a_lost_connection_are_kept(conversation: Conversation, service: Service) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    for name in ("a", "b", "c"):
        request = packets.packet(packets.OPEN, number(1), string(name), number(TRUNCATE), number(0))
        handle = conversation.send(request)[13:]
        write = packets.packet(packets.WRITE, number(2), string(handle), long(0), string(b"begin"))
        conversation.send(write)
    conversation.lose()
    kept = service.run(service.engine.list())
    assert sorted((each.facts.name, each.durable) for each in kept) == [("a", 5), ("b", 5), ("c", 5)]
