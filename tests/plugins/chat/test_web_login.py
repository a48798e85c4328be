import base64
from pathlib import Path

import pytest
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.logger import Logger

from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.users import passwords
from sockd_plugins.users.passwords import hash_password
from tests.plugins.chat.results import result_of
from tests.plugins.chat.web import Chat, Socket, types

PASSWORD = "horse battery"


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Return a chat with an account of ann."""
    monkeypatch.setattr(passwords, "_LOG_N", 1)  # new passwords cost nothing
    file = tmp_path / "accounts.txt"
    file.write_text(f"ann:{hash_password(PASSWORD)}\n")
    accounts = Accounts(file, execute, Clock(), Logger("test"))
    result_of(accounts.load())
    return Chat(accounts=accounts)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_the_name_of_an_account_is_borne_only_with_its_password(chat: Chat) -> None:
    ann = Socket(chat)
    assert ann.says_hello("Ann")[0]["code"] == "login"
    assert ann.says_hello("Ann", password="wrong")[0]["code"] == "denied"
    assert types(ann.says_hello("Ann", password=PASSWORD)) == ["welcome", "entered"]
    person = chat.hub.find("ann")
    assert person is not None
    assert person.account == "ann"
    assert ann.says_hello("ann", password=PASSWORD)[0]["code"] == "bad_command"


def test_who_has_an_account_may_bear_another_name(chat: Chat) -> None:
    ann = Socket(chat)
    ann.says_hello("anna", account="ann", password=PASSWORD)
    ann.sends(type="say", room="lobby", text="hello")
    (said,) = ann.reads()
    assert (said["name"], said["account"]) == ("anna", "ann")


def test_scripts_log_in_by_basic_and_speak_under_the_name_of_the_account(chat: Chat) -> None:
    web = chat.connect()
    assert web.asks("POST", "/rooms/lobby", b"x", authorization=basic("ann", PASSWORD)).status == 201
    listed = web.asks("GET", "/rooms/lobby?limit=1", authorization=basic("ann", PASSWORD))
    assert listed.body.endswith(b" ann x\n")
    stream = chat.connect()
    assert stream.asks("GET", "/rooms/lobby", authorization=basic("ann", PASSWORD)).status == 200
    assert chat.hub.find("ann") is not None


@pytest.mark.parametrize(
    ("target", "field", "status"),
    [
        ("/rooms/lobby", basic("ann", "wrong"), 401),
        ("/rooms/lobby", basic("nobody", PASSWORD), 401),
        ("/rooms/lobby?name=ann", None, 401),
        ("/rooms/lobby", "Bearer x", 400),
        ("/rooms/lobby", "Basic !", 400),
        ("/rooms/lobby", "Basic " + base64.b64encode(b"nocolon").decode(), 400),
    ],
)
def test_a_wrong_login_of_a_script_is_refused(
    chat: Chat, target: str, field: str | None, status: int
) -> None:
    headers = {} if field is None else {"authorization": field}
    answered = chat.connect().asks("POST", target, b"x", **headers)
    assert answered.status == status
    assert ("www-authenticate" in answered.headers) == (status == 401)


def test_where_there_are_no_accounts_a_password_is_refused() -> None:
    chat = Chat()
    assert Socket(chat).says_hello("ann", password="x")[0]["code"] == "denied"
    assert chat.connect().asks("POST", "/rooms/lobby", b"x", authorization=basic("ann", "x")).status == 401
