# mypy: disable-error-code="no-untyped-call"
# The classes of Twisted that this uses have no annotations.
"""Key exchanges, and clients that abuse them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key

from sockd_plugins.files.sftp import packets, transport
from sockd_plugins.files.sftp.ciphers import PacketFault
from sockd_plugins.files.sftp.exchange import HostKeys, Order
from sockd_plugins.files.sftp.fields import long, number, string
from tests.plugins.files.sftp.client import TRUNCATE, Service
from tests.plugins.files.sftp.conversation import SUCCESS, Conversation, reason

KEXINIT, NEWKEYS, METHOD, WRONG = 20, 21, 30, b"a message of the key exchange comes at the wrong time"


def put(conversation: Conversation, name: str, folder: Path) -> None:
    """Send a file over the open session, and look at it."""
    data = os.urandom(100_000)
    request = packets.packet(packets.OPEN, number(1), string(name), number(TRUNCATE), number(0))
    handle = conversation.send(request)[13:]
    conversation.send(packets.packet(packets.WRITE, number(2), string(handle), long(0), string(data)))
    conversation.send(packets.packet(packets.CLOSE, number(3), string(handle)))
    assert (folder / "ann" / name).read_bytes() == data


def test_a_client_that_waits_for_the_proposal_gets_it(service: Service, tmp_path: Path) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    conversation.client.makeConnection(cast("Any", conversation.client_wire))
    version, proposal = re.split(rb"(?<=\r\n)", conversation.client_wire.value(), maxsplit=1)
    conversation.client_wire.clear()
    conversation.peer.dataReceived(version)
    conversation.clock.advance(transport.PROPOSE_SECONDS)
    conversation.client_wire.write(proposal)
    conversation.pump()
    assert conversation.client.secure
    assert conversation.log_in()[0][0] == SUCCESS
    conversation.lose()


def test_a_client_that_says_nothing_more_leaves_no_timer(service: Service, tmp_path: Path) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    conversation.peer.dataReceived(b"SSH-2.0-x\r\n")
    conversation.lose()
    assert not conversation.clock.getDelayedCalls()


@pytest.mark.parametrize("kinds", [[NEWKEYS], [METHOD], [31], [34], [KEXINIT, NEWKEYS], [KEXINIT, KEXINIT]])
def test_keys_are_changed_by_a_whole_exchange_only(conversation: Conversation, kinds: list[int]) -> None:
    """Out of their order they end the connection (RFC 4253, 7)."""
    conversation.open_session()
    for kind in kinds:
        payload = conversation.client.ourKexInitPayload[1:] if kind == KEXINIT else NS(bytes(32))
        conversation.client.sendPacket(kind, b"" if kind == NEWKEYS else payload)
    conversation.client_wire.write(bytes(0))
    conversation.pump()
    assert conversation.wire.disconnecting


def test_the_order_of_an_exchange() -> None:
    order = Order()
    for _ in range(2):
        for number_ in (KEXINIT, METHOD, NEWKEYS):
            for wrong in {KEXINIT, METHOD, NEWKEYS, 22, 31, 49} - {number_}:
                with pytest.raises(PacketFault, match=WRONG.decode()):
                    order.take(wrong)
            assert order.take(94)
            assert order.take(number_)


def test_a_guess_that_is_wrong_is_dropped_once() -> None:
    order = Order()
    order.take(KEXINIT)
    order.is_guessed = True
    assert not order.take(34)
    assert order.take(METHOD)


def test_keys_are_not_changed_before_the_login(conversation: Conversation) -> None:
    """Each exchange costs the server a thousand times what it costs a client that does not mean it."""
    conversation.client.sendKexInit()
    conversation.pump()
    assert reason(conversation.client.packets) == b"expected a login before new keys"


def test_a_client_may_change_the_keys_whenever_it_wants(conversation: Conversation, folder: Path) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    for attempt in range(20):
        before = conversation.client.currentEncryptions
        conversation.client.sendKexInit()
        conversation.pump()
        assert conversation.client.currentEncryptions is not before
        put(conversation, f"file-{attempt}", folder)


def test_the_server_changes_the_keys_after_some_bytes(
    conversation: Conversation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    monkeypatch.setattr(transport, "KEYED_BYTES", 150_000)
    before = conversation.client.currentEncryptions
    put(conversation, "first", folder)
    assert conversation.client.currentEncryptions is before
    put(conversation, "second", folder)
    assert conversation.client.currentEncryptions is not before
    put(conversation, "third", folder)


def test_the_server_changes_the_keys_after_an_hour(conversation: Conversation, folder: Path) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    before = conversation.client.currentEncryptions
    conversation.pump(transport.KEYED_SECONDS)
    put(conversation, "late", folder)
    assert conversation.client.currentEncryptions is not before


def test_answers_do_not_pile_up_while_a_client_leaves_an_exchange_open(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation.open_session()
    conversation.send(packets.packet(packets.INIT, number(3)))
    monkeypatch.setattr(transport, "KEYED_BYTES", 0)
    monkeypatch.setattr(conversation.client, "ssh_KEXINIT", lambda _: None)
    path = packets.packet(packets.REALPATH, number(1), string("a/" * 20_000))
    for _ in range(40):
        if conversation.wire.disconnecting:
            break
        conversation.send(path)
    assert reason(conversation.client.packets) == b"the key exchange is not finished"


def test_large_packets_are_refused_before_the_login_and_taken_after_it(conversation: Conversation) -> None:
    conversation.client.sendPacket(2, NS(bytes(30_000)))
    conversation.open_session()
    conversation.client.sendPacket(2, NS(bytes(200_000)))
    conversation.pump()
    assert not conversation.wire.disconnecting


def test_a_large_packet_before_the_login_ends_the_connection(conversation: Conversation) -> None:
    conversation.client.sendPacket(2, NS(bytes(36_000)))
    conversation.pump()
    assert reason(conversation.client.packets) == b"expected smaller packets before the login"


def test_a_client_tells_of_any_extensions(conversation: Conversation) -> None:
    conversation.say(7, number(0xFFFFFFFF) + NS(b"") * 4000)
    assert conversation.log_in()[0][0] == SUCCESS


def test_an_unknown_message_is_named_by_its_number(conversation: Conversation) -> None:
    conversation.log_in()
    sent = conversation.client.outgoingPacketSequence
    assert conversation.say(199, b"") == [(3, number(sent))]


def test_a_host_key_of_rsa_signs_with_sha_2_only(service: Service, tmp_path: Path) -> None:
    conversation = Conversation(service, tmp_path)
    conversation.peer.makeConnection(cast("Any", conversation.wire))
    server = transport.Transport(
        cast("Any", conversation.wire),
        conversation.clock,
        HostKeys.of(Key(rsa.generate_private_key(65537, 2048))),
        cast("Any", None),
    )
    assert server.supportedPublicKeys == [b"rsa-sha2-512", b"rsa-sha2-256"]
    server.end()
    conversation.lose()
