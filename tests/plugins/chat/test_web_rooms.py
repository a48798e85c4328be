import base64
import hashlib
import hmac
import json
import time

import pytest
from pydantic import SecretStr
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from sockd_plugins.chat.hub.events import Said
from sockd_plugins.chat.web import rooms
from sockd_plugins.chat.web.event_stream import PING_SECONDS
from sockd_plugins.chat.web.hooks import REPLAY_SECONDS
from sockd_plugins.chat.web.options import Hook, Options
from tests.plugins.chat.web import Answered, Chat, Socket, Web, types

EVENTS = "text/event-stream"
SECRET = "a secret of the hook"


@pytest.fixture
def chat() -> Chat:
    return Chat()


def follow(chat: Chat, target: str, **headers: str) -> tuple[Web, Answered]:
    web = chat.connect()
    return web, web.asks("GET", target, **headers)


def lines(web: Web) -> list[str]:
    return [" ".join(line.split(" ")[:1] + line.split(" ")[2:]) for line in web.reads().decode().splitlines()]


def test_a_post_is_a_message_and_its_answer_has_the_number(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    answered = chat.connect().asks("POST", "/rooms/lobby?name=backup", "done: ä\n".encode())
    (said,) = ann.reads()
    assert (said["name"], said["text"], said["kind"]) == ("backup", "done: ä", "said")
    assert answered.status == 201
    assert answered.json == {"room": "lobby", "number": 1, "id": said["id"], "count": 1}


def test_each_line_of_a_post_is_a_message_and_json_is_taken_too(chat: Chat) -> None:
    answered = chat.connect().asks("POST", "/rooms/lobby", b"one\r\n\n  \ntwo")
    assert (answered.json["number"], answered.json["count"]) == (2, 2)
    body = json.dumps({"text": "three", "name": "ci", "kind": "notice"}).encode()
    assert chat.connect().asks("POST", "/rooms/lobby", body, content_type="application/json").status == 201
    listed = chat.connect().asks("GET", "/rooms/lobby", accept="application/json").json["messages"]
    assert [(said["name"], said["text"], said["kind"]) for said in listed] == [
        ("guest", "one", "said"),
        ("guest", "two", "said"),
        ("ci", "three", "notice"),
    ]


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        ("/rooms/lobby", b" ", 400, "no_text"),
        ("/rooms/lobby", b"\xff", 400, "bad_request"),
        ("/rooms/lobby", b"x" * 401, 413, "too_long"),
        ("/rooms/lobby", b"x\n" * 21, 413, "too_large"),
        ("/rooms/nowhere", b"x", 404, "no_such_room"),
        ("/rooms/lobby?name=ann", b"x", 409, "taken"),
        ("/rooms/lobby?name=a%20b", b"x", 400, "bad_name"),
        ("/rooms/lobby?kind=shouted", b"x", 400, "bad_request"),
        ("/rooms", b"x", 405, "bad_method"),
    ],
)
def test_a_post_that_cannot_be_said_is_refused_with_its_status(
    chat: Chat, target: str, body: bytes, status: int, code: str
) -> None:
    Socket(chat).says_hello("ann")
    answered = chat.connect().asks("POST", target, body)
    assert (answered.status, answered.body.decode().split(" ")[1]) == (status, f"{code}:")
    answered = chat.connect().asks("POST", target, body, accept="application/json")
    assert (answered.json["status"], answered.json["code"]) == (status, code)


def test_an_address_that_posts_too_fast_is_told_when_to_come_again() -> None:
    chat = Chat(Options(rate=1, burst=2))
    statuses = [chat.connect().asks("POST", "/rooms/lobby", b"x") for _ in range(3)]
    assert [answered.status for answered in statuses] == [201, 201, 429]
    assert statuses[2].headers["retry-after"] == "1"
    chat.passes(1)
    assert chat.connect().asks("POST", "/rooms/lobby", b"x").status == 201


def test_posts_of_other_sites_are_refused(chat: Chat) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
        assert chat.connect().asks("POST", "/rooms/lobby", b"x", **headers).status == 403
        assert chat.connect().asks("GET", "/rooms/lobby", **headers).status == 403
    assert chat.connect().asks("POST", "/rooms/lobby", b"x", origin="http://chat.example").status == 201


def test_a_refused_origin_is_in_the_log(chat: Chat) -> None:
    with capturedLogs() as logged:
        chat.connect().asks("POST", "/rooms/lobby", b"x", origin="https://evil.example")
    (event,) = [each for each in logged if each["log_format"] == "origin refused"]
    assert event["origin"] == "https://evil.example"


def test_a_name_that_was_only_made_to_lead_here_is_refused() -> None:
    chat = Chat(Options(hosts=("Chat.example", "[::1]"), rate=1e6, burst=1000))
    for host, status in (
        ("chat.example", 200),
        ("CHAT.example:7024", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
    ):
        web = chat.connect()
        web.sends(f"GET /rooms HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert Answered(web.reads()).status == status


def test_a_permitted_site_may_read_the_answers() -> None:
    chat = Chat(Options(origins=("https://friend.example",)))
    answered = chat.connect().asks("GET", "/rooms", origin="https://friend.example")
    assert answered.headers["access-control-allow-origin"] == "https://friend.example"
    _, answered = follow(chat, "/rooms/lobby", origin="https://friend.example")
    assert answered.headers["access-control-allow-origin"] == "https://friend.example"


def test_a_room_is_a_stream_of_lines(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    ann.sends(type="say", room="lobby", text="before")
    web, answered = follow(chat, "/rooms/lobby?name=tail")
    assert (answered.status, answered.headers["connection"]) == (200, "close")
    number, at, name, text = answered.body.decode().removesuffix("\n").split(" ", 3)
    assert (number, name, text) == ("1", "ann", "before")
    assert at.endswith("Z")
    ann.sends(type="say", room="lobby", text="hello there")
    ann.sends(type="say", room="lobby", text="waves", kind="action")
    ann.sends(type="join", room="garden")
    assert lines(web) == ["2 ann hello there", "3 ann /me waves"]
    assert "joined" in types(ann.reads())
    web.hangs_up()
    assert chat.hub.find("tail") is None


def test_a_room_is_a_stream_of_events_with_numbers_as_ids(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("ann")
    web, answered = follow(chat, "/rooms/lobby", accept=EVENTS)
    assert answered.headers["content-type"] == EVENTS
    ann.sends(type="say", room="lobby", text="hello")
    ann.sends(type="join", room="garden")
    event, _ = web.reads().decode().split("\n\n")
    first, second = event.split("\n")
    assert first == "id: 1"
    assert json.loads(second.removeprefix("data: "))["text"] == "hello"
    ann.web.hangs_up()
    assert web.reads().startswith(b'event: gone\ndata: {"type":"gone","name":"ann"')
    chat.passes(PING_SECONDS)
    assert web.reads() == b":\n\n"


class Disk:
    """Archive with messages, which answers a read when it is told to."""

    def __init__(self, count: int) -> None:
        self.said = [Said("lobby", "ann", f"text {number}", number) for number in range(1, count + 1)]
        self.reading: list[Deferred[None]] = []

    async def latest(self, room: str, limit: int) -> tuple[int, list[Said]]:
        return len(self.said), self.said[-limit:]

    async def keep(self, said: list[Said]) -> None:
        self.said.extend(said)

    async def since(self, room: str, number: int, limit: int) -> list[Said]:
        self.reading.append(Deferred())
        await self.reading[-1]
        return [each for each in self.said if each.number > number][:limit]

    def read(self) -> None:
        while self.reading:
            self.reading.pop(0).callback(None)


@pytest.mark.parametrize("by_header", [True, False])
def test_a_stream_goes_on_behind_a_number_without_gap_or_double(by_header: bool) -> None:
    disk = Disk(500)
    chat = Chat(archive=disk)
    headers = {"last_event_id": "17"} if by_header else {}
    web, _ = follow(chat, "/rooms/lobby" + ("" if by_header else "?since=17"), **headers)
    disk.read()
    assert chat.connect().asks("POST", "/rooms/lobby", b"live").status == 201
    disk.read()
    shown = web.reads().decode().splitlines()
    assert [int(line.split(" ")[0]) for line in shown] == list(range(18, 502))
    assert shown[-1].endswith("guest live")


def test_messages_are_listed_behind_a_number(chat: Chat) -> None:
    for number in range(1, 6):
        chat.connect().asks("POST", "/rooms/lobby", f"text {number}".encode())
    answered = chat.connect().asks("GET", "/rooms/lobby?since=2&limit=2")
    assert [line.split(" ")[0] for line in answered.body.decode().splitlines()] == ["3", "4"]
    assert chat.connect().asks("GET", "/rooms/lobby?since=9&limit=2").status == 404
    assert chat.connect().asks("GET", "/rooms/lobby?since=x&limit=2").status == 400
    assert chat.connect().asks("HEAD", "/rooms/lobby").status == 200


def test_streams_are_refused_with_a_status(chat: Chat) -> None:
    Socket(chat).says_hello("ann")
    assert follow(chat, "/rooms/lobby?name=ann")[1].status == 409
    assert follow(chat, "/rooms/a%20b")[1].status == 400
    assert chat.hub.rooms()[0].people == 1


def test_the_conversation_in_json_goes_over_events_and_posts_too(chat: Chat) -> None:
    web = chat.connect()
    answered = web.asks("GET", "/events", accept=EVENTS)
    path = json.loads(answered.body.decode().removeprefix("data: "))["path"]
    hello = json.dumps({"type": "hello", "name": "ann", "rooms": {"lobby": None}})
    say = json.dumps({"type": "say", "room": "lobby", "text": "hi", "ref": 1})
    assert chat.connect().asks("POST", path, f"{hello}\n{say}\n".encode()).status == 204
    events = [
        json.loads(event.removeprefix("data: ")) for event in web.reads().decode().split("\n\n") if event
    ]
    assert types(events) == ["welcome", "entered", "said"]
    assert events[2]["ref"] == 1
    web.hangs_up()
    assert chat.hub.find("ann") is None
    assert chat.connect().asks("POST", path, hello.encode()).status == 404


def hooked() -> Chat:
    return Chat(Options(hooks={"ci": Hook(room="lobby", secret=SecretStr(SECRET))}, rate=1e6, burst=1000))


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_a_signed_hook_speaks_in_its_room_once() -> None:
    chat, body = hooked(), b'{"text":"build 17 is green"}'
    ann = Socket(chat)
    ann.says_hello("ann")
    headers = {"x_hub_signature_256": signature(body)}
    assert chat.connect().asks("POST", "/hooks/ci", body, **headers).status == 201
    (said,) = ann.reads()
    assert (said["name"], said["text"], said["kind"]) == ("ci", "build 17 is green", "notice")
    assert chat.connect().asks("POST", "/hooks/ci", body, **headers).status == 409
    assert ann.reads() == []


@pytest.mark.parametrize("header", [{}, {"x_hub_signature_256": "sha256=00"}, {"sockd_signature": "é"}])
def test_a_hook_without_its_signature_is_refused(header: dict[str, str]) -> None:
    answered = hooked().connect().asks("POST", "/hooks/ci", b'{"text":"x"}', **header)
    assert answered.status == 401
    wrong = signature(b'{"text":"x"}', "another secret")
    assert (
        hooked().connect().asks("POST", "/hooks/ci", b'{"text":"x"}', x_hub_signature_256=wrong).status == 401
    )


@pytest.mark.parametrize(
    ("late", "status"), [(0, 201), (REPLAY_SECONDS + 5, 403), (-REPLAY_SECONDS - 5, 403)]
)
def test_a_hook_with_a_time_is_taken_within_some_minutes(late: float, status: int) -> None:
    chat, body, at = hooked(), b"plain text", str(int(time.time() - late))
    digest = hmac.new(SECRET.encode(), b"id1." + at.encode() + b"." + body, hashlib.sha256).digest()
    headers = {
        "webhook_id": "id1",
        "webhook_timestamp": at,
        "webhook_signature": "v1,AAAA v1," + base64.b64encode(digest).decode(),
    }
    assert chat.connect().asks("POST", "/hooks/ci", body, **headers).status == status
    if status == 201:
        assert chat.connect().asks("POST", "/hooks/ci", body, **headers).status == 409


def test_a_hook_without_a_message_is_refused() -> None:
    for body in (b'{"zen":"x"}', b"", b" "):
        answered = hooked().connect().asks("POST", "/hooks/ci", body, sockd_signature=signature(body))
        assert answered.status == 400


def test_every_refusal_of_the_chat_has_a_status() -> None:
    assert all(400 <= status < 600 for status in rooms._STATUS.values())
