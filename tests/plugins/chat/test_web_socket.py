import json
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from sockd_plugins.chat.web.backlog import MOST_WAITING, STALL_SECONDS
from sockd_plugins.chat.web.commands import MOST_BYTES
from sockd_plugins.chat.web.options import Options
from sockd_plugins.chat.web.session import HEARTBEAT_SECONDS, HELLO_SECONDS, MOST_FAULTS
from sockd_plugins.chat.web.websocket import CLOSE_SECONDS, PING_SECONDS, SILENT_SECONDS
from tests.plugins.chat.web import Answered, Chat, Socket, types


@pytest.fixture
def chat() -> Chat:
    return Chat()


def test_hello_brings_a_person_into_its_rooms(chat: Chat) -> None:
    ann = Socket(chat)
    welcome, entered = ann.says_hello("ann")
    assert (welcome["type"], welcome["name"], welcome["room"]) == ("welcome", "ann", "lobby")
    assert (entered["type"], entered["room"], entered["others"], entered["recent"]) == (
        "entered",
        "lobby",
        [],
        [],
    )
    bob = Socket(chat)
    assert bob.says_hello("bob")[1]["others"] == [{"name": "ann", "rank": "", "away": False}]
    assert ann.reads() == [{"type": "joined", "room": "lobby", "name": "bob", "account": ""}]


def test_the_own_message_comes_back_with_its_number_and_ref(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob")
    ann.reads()
    ann.sends(type="say", room="lobby", text="hello", ref="m1")
    ann.sends(type="say", room="lobby", text="again", kind="action")
    first, second = ann.reads()
    assert (first["number"], first["text"], first["ref"], first["name"]) == (1, "hello", "m1", "ann")
    assert (second["number"], second["kind"]) == (2, "action")
    assert "ref" not in second
    del first["ref"]
    assert bob.reads() == [first, second]


def test_own_messages_keep_their_refs_while_the_name_changes_and_others_speak(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob")
    for each, commands in (
        (ann, [("say", 1), ("rename", 0), ("say", 2)]),
        (bob, [("rename", 0), ("say", 3)]),
    ):
        for kind, ref in commands:
            if kind == "say":
                each.sends(type="say", room="lobby", text=f"text {ref}", ref=ref)
            else:
                each.sends(type="rename", name={ann: "anna", bob: "ann"}[each])
    said = [message for message in ann.reads() if message["type"] == "said"]
    assert [(message["name"], message.get("ref")) for message in said] == [
        ("ann", 1),
        ("anna", 2),
        ("ann", None),
    ]
    assert [message.get("ref") for message in bob.reads() if message["type"] == "said"] == [None, None, 3]


def test_who_comes_back_gets_what_it_has_missed_and_nothing_twice(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    for number in range(1, 4):
        ann.sends(type="say", room="lobby", text=f"text {number}")
    epoch = Socket(chat).says_hello("zoe", rooms={})[0]["epoch"]
    bob = Socket(chat)
    _, entered = bob.says_hello("bob", rooms={"lobby": 2}, epoch=epoch)
    assert [message["number"] for message in entered["recent"]] == [3]
    carl = Socket(chat)
    _, entered = carl.says_hello("carl", rooms={"lobby": 2}, epoch="of an earlier server")
    assert [message["number"] for message in entered["recent"]] == [1, 2, 3]


def test_messages_can_be_read_again_by_number(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    for number in range(1, 6):
        ann.sends(type="say", room="lobby", text=f"text {number}")
    ann.reads()
    ann.sends(type="since", room="lobby", number=1, limit=2, ref="a")
    ann.sends(type="before", room="lobby", number=3, ref="b")
    ann.sends(type="since", room="nowhere", number=1, ref="c")
    since, before, refused = sorted(ann.reads(), key=lambda message: message["ref"])
    assert [message["number"] for message in since["messages"]] == [2, 3]
    assert [message["number"] for message in before["messages"]] == [1, 2]
    assert (refused["type"], refused["code"]) == ("refused", "not_in_room")


def test_private_messages_go_to_one_person_and_back_to_the_speaker(chat: Chat) -> None:
    ann, bob, eve = Socket(chat), Socket(chat), Socket(chat)
    for each, name in ((ann, "ann"), (bob, "bob"), (eve, "eve")):
        each.says_hello(name)
    for each in (ann, bob, eve):
        each.reads()
    ann.sends(type="tell", to="bob", text="psst", ref=5)
    told = ann.reads()[0]
    assert told.pop("ref") == 5
    assert (told["type"], told["name"], told["to"], told["text"]) == ("told", "ann", "bob", "psst")
    assert bob.reads() == [told]
    assert eve.reads() == []


def test_rooms_are_entered_listed_and_left(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    ann.sends(type="join", room="garden")
    ann.sends(type="rooms", ref=1)
    ann.sends(type="who", room="garden", ref=2)
    ann.sends(type="part", room="garden")
    entered, rooms, present, parted = ann.reads()
    assert entered["room"] == "garden"
    assert [(room["name"], room["people"]) for room in rooms["rooms"]] == [("lobby", 1), ("garden", 1)]
    assert present["people"] == [{"name": "ann", "rank": "operator", "away": False}]
    assert (parted["type"], parted["room"]) == ("parted", "garden")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"type":1}',
        '{"type":"nonsense"}',
        '{"type":"say","room":"lobby"}',
        '{"type":"say","room":1,"text":"x"}',
        '{"type":"say","room":"lobby","text":"x","kind":"shouted"}',
        '{"type":"since","room":"lobby","number":-1}',
        '{"type":"since","room":"lobby","number":true}',
        '{"type":"since","room":"lobby","number":1e99}',
        '{"type":"hello","name":"bob"}',
        '{"type":"hello","name":"bob","rooms":[]}',
        "[" * 20_000,
        "9" * 9_000,
    ],
)
def test_what_is_no_command_is_refused_and_the_person_stays(chat: Chat, text: str) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    ann.protocol.send_text(text.encode())
    ann.flush()
    (refused,) = ann.reads()
    assert (refused["type"], refused["code"]) == ("refused", "bad_command")
    ann.sends(type="say", room="lobby", text="here", ref=1)
    assert types(ann.reads()) == ["said"]


def test_lone_surrogates_and_control_characters_reach_nobody(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    ann.sends(type="say", room="lobby", text="a\ud800b\x1b[2J\u202e")
    (said,) = ann.reads()
    assert said["text"] == "a?b\\x1b[2J\\u202e"


def test_commands_before_hello_are_refused_and_hello_has_its_time(chat: Chat) -> None:
    ann = Socket(chat)
    ann.sends(type="say", room="lobby", text="x", ref=1)
    assert ann.reads()[0]["text"] == "expected 'hello' first"
    chat.passes(HELLO_SECONDS)
    assert types(ann.reads()) == ["ended"]
    assert ann.close_code == 1008


def test_a_taken_name_may_be_replaced_by_another_one(chat: Chat) -> None:
    Socket(chat).says_hello("ann")
    bob = Socket(chat)
    (refused,) = bob.says_hello("ann")
    assert (refused["command"], refused["code"]) == ("hello", "taken")
    assert types(bob.says_hello("bob")) == ["welcome", "entered"]


def test_who_sends_nothing_but_faults_is_ended(chat: Chat) -> None:
    ann = Socket(chat)
    for _ in range(MOST_FAULTS + 1):
        ann.sends(type="nonsense")
    assert ann.reads()[-1]["type"] == "ended"
    assert ann.close_code == 1008


def test_a_lost_client_takes_its_name_over_with_its_key(chat: Chat) -> None:
    lost = Socket(chat)
    key = lost.says_hello("ann")[0]["key"]
    ann = Socket(chat)
    assert types(ann.says_hello("Ann", key=key))[0] == "welcome"
    (ended,) = lost.reads()
    assert (ended["type"], ended["code"]) == ("ended", "replaced")
    assert lost.close_code == 4000
    eve = Socket(chat)
    assert eve.says_hello("ann", key="guessed")[0]["code"] == "taken"


def test_a_close_is_answered_and_the_server_hangs_up_at_once(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob")
    ann.reads()
    bob.protocol.send_close(1001)
    bob.flush()
    assert bob.transport.disconnecting
    assert types(ann.reads()) == ["gone"]
    bob.reads()
    assert bob.close_code == 1001


def test_the_end_of_the_chat_is_told_and_a_client_that_does_not_answer_is_hung_up(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    chat.hub.close("the server is closing")
    frames = [frame for frame in ann.events() if isinstance(frame, Frame)]
    assert json.loads(bytes(frames[0].data)) == {"type": "ended", "reason": "the server is closing"}
    assert frames[1].opcode is Opcode.CLOSE
    assert not ann.transport.disconnecting
    chat.passes(CLOSE_SECONDS)
    assert ann.transport.disconnecting


def test_a_peer_that_answers_no_ping_is_gone(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob")
    ann.reads()
    seen: list[dict[str, Any]] = []
    for _ in range(int(SILENT_SECONDS + PING_SECONDS)):
        chat.passes(1)
        seen += ann.reads()
    assert bob.transport.disconnected
    assert types(seen) == ["gone"]
    assert not ann.transport.disconnecting


def test_a_page_that_promised_a_heartbeat_is_gone_without_it_although_it_answers_pings(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann", heartbeat=True)
    ann.sends(type="ping", ref=1)
    assert ann.reads() == [{"type": "pong", "ref": 1}]
    seen: list[dict[str, Any]] = []
    for _ in range(int(HEARTBEAT_SECONDS)):
        chat.passes(1)
        seen += ann.reads()
    assert types(seen) == ["ended"]


def test_who_does_not_read_is_told_what_was_skipped_and_delays_nobody(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob")
    ann.sends(type="say", room="lobby", text="seen")
    bob.reads()
    bob.transport.stops_reading()
    text = "x" * 390
    count = MOST_WAITING // 390 + 10
    for _ in range(count):
        ann.sends(type="say", room="lobby", text=text)
    assert bob.reads() == []
    assert len([message for message in ann.reads() if message["type"] == "said"]) == count + 1
    bob.transport.reads_again()
    *kept, skipped = bob.reads()
    assert [message["number"] for message in kept] == list(range(2, len(kept) + 2))
    assert skipped == {"type": "skipped", "room": "lobby", "count": count - len(kept), "since": len(kept) + 1}


def test_who_reads_nothing_for_long_is_ended(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann")
    bob.says_hello("bob", heartbeat=True)
    bob.transport.stops_reading()
    for _ in range(MOST_WAITING // 390 + 10):
        ann.sends(type="say", room="lobby", text="x" * 390)
    for _ in range(int(STALL_SECONDS)):
        chat.passes(1)
        bob.sends(type="ping")
        ann.reads()
    ann.sends(type="who", room="lobby")
    assert [person["name"] for person in ann.reads()[-1]["people"]] == ["ann"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.BINARY, b"x")], 1003),
        ([Frame(Opcode.TEXT, b"\xff")], 1007),
        ([Frame(Opcode.TEXT, b"x" * (MOST_BYTES + 1))], 1009),
        ([Frame(Opcode.TEXT, b"x" * MOST_BYTES, fin=False), Frame(Opcode.CONT, b"x")], 1009),
        ([Frame(Opcode.CONT, b"x")], 1002),
    ],
)
def test_frames_that_are_too_long_or_no_text_end_the_connection(
    chat: Chat, frames: list[Frame], code: int
) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    for frame in frames:
        ann.web.sends(frame.serialize(mask=True))
    ann.reads()
    assert ann.close_code == code
    assert chat.hub.find("ann") is None


def test_a_message_may_come_in_several_frames_with_a_ping_between_them(chat: Chat) -> None:
    ann = Socket(chat)
    text = b'{"type":"hello","name":"ann"}'
    for frame in (
        Frame(Opcode.TEXT, text[:5], fin=False),
        Frame(Opcode.PING, b"p"),
        Frame(Opcode.CONT, b"", fin=False),
        Frame(Opcode.CONT, text[5:]),
    ):
        ann.web.sends(frame.serialize(mask=True))
    assert types(ann.reads()) == ["welcome"]


@pytest.mark.parametrize(
    ("origin", "options", "status"),
    [
        ("http://chat.example", Options(), 101),
        ("https://chat.example", Options(), 101),
        ("https://evil.example", Options(), 403),
        ("null", Options(), 403),
        ("https://friend.example", Options(origins=("https://friend.example",)), 101),
        ("https://anybody.example", Options(origins=("*",)), 101),
    ],
)
def test_pages_of_other_origins_are_refused_unless_they_are_permitted(
    origin: str, options: Options, status: int
) -> None:
    web = Chat(options).connect()
    web.sends(
        b"GET /socket HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: %b\r\n\r\n"
        % origin.encode()
    )
    answered = Answered(web.reads())
    assert answered.status == status
    if status == 101:
        assert answered.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert "sec-websocket-extensions" not in answered.headers


def test_a_request_that_is_no_handshake_is_refused_and_the_connection_goes_on(chat: Chat) -> None:
    web = chat.connect()
    assert web.asks("GET", "/socket").status == 426
    key, odd = "dGhlIHNhbXBsZSBub25jZQ==", "1\xff3"
    handshake = {"upgrade": "websocket", "connection": "upgrade", "sec_websocket_key": key}
    assert web.asks("GET", "/socket", sec_websocket_version="12", **handshake).status == 400
    assert web.asks("GET", "/socket", sec_websocket_version=odd, **handshake).status == 400
    assert web.asks("GET", "/rooms").status == 200


def test_a_lost_connection_ends_the_person(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    ann.web.hangs_up()
    assert chat.hub.find("ann") is None
    assert not chat.clock.getDelayedCalls()


def test_an_operator_sets_topic_and_modes_and_removes_people(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann", rooms={"garden": None})
    bob.says_hello("bob", rooms={"garden": None})
    ann.reads()
    ann.sends(type="topic", room="garden", text="roses")
    ann.sends(type="mode", room="garden", adds=True, mode="k", argument="hush")
    ann.sends(type="remove", room="garden", name="bob", reason="thorns")
    assert types(ann.reads()) == ["topic_set", "mode_set", "removed"]
    topic, mode, removed = bob.reads()
    assert (topic["name"], topic["text"]) == ("ann", "roses")
    assert mode["changes"] == [{"adds": True, "mode": "k", "argument": "hush"}]
    assert (removed["name"], removed["by"], removed["reason"]) == ("bob", "ann", "thorns")
    bob.sends(type="join", room="garden", ref=1)
    assert bob.reads()[0]["code"] == "key"
    bob.sends(type="join", room="garden", key="hush")
    assert bob.reads()[0]["topic"]["text"] == "roses"
    bob.sends(type="topic", room="garden", text="weeds", ref=2)
    assert bob.reads()[0]["code"] == "not_operator"


def test_words_are_searched_in_a_room_of_the_person(chat: Chat) -> None:
    ann = Socket(chat)
    assert ann.says_hello("ann")[0]["features"] == ["search"]
    for text in ("one", "two", "three", "onerous"):
        ann.sends(type="say", room="lobby", text=text)
    ann.reads()
    ann.sends(type="search", room="Lobby", words="O", ref=1)
    assert [message["number"] for message in ann.reads()[0]["messages"]] == [1, 2, 4]
    ann.sends(type="search", room="lobby", words="one", before=4, limit=5, ref=1)
    assert [message["text"] for message in ann.reads()[0]["messages"]] == ["one"]
    ann.sends(type="search", room="garden", words="o", ref=3)
    assert [refused["code"] for refused in ann.reads()] == ["not_in_room"]


def test_an_own_message_is_redacted_for_everybody(chat: Chat) -> None:
    ann, bob = Socket(chat), Socket(chat)
    ann.says_hello("ann", rooms={"garden": None})
    bob.says_hello("bob", rooms={"garden": None})
    ann.sends(type="say", room="garden", text="a secret")
    bob.reads()
    ann.sends(type="redact", room="garden", number=1, reason="by mistake")
    (redacted,) = bob.reads()
    assert redacted == {
        "type": "redacted",
        "room": "garden",
        "number": 1,
        "by": "ann",
        "reason": "by mistake",
    }
    bob.sends(type="redact", room="garden", number=1, ref=1)
    assert bob.reads()[0]["type"] == "refused"


def test_own_messages_keep_their_refs_under_a_name_that_others_have_given(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    person = chat.hub.find("ann")
    assert person is not None
    chat.hub.rename(person, "ann1")
    assert types(ann.reads()) == ["renamed"]
    ann.sends(type="say", room="lobby", text="hello", ref=1)
    (said,) = ann.reads()
    assert (said["name"], said["ref"]) == ("ann1", 1)
