from __future__ import annotations

import base64

import pytest
from twisted.internet.defer import Deferred

from sockd_plugins.chat.irc.commands.registration import MAX_CREDENTIALS, NAME_TRIES
from sockd_plugins.chat.irc.connection import ANSWER_TIME, QUIET_TIME, REGISTRATION_TIME
from sockd_plugins.chat.irc.rounds import ROUND
from sockd_plugins.users.tries import NotTried
from tests.plugins.chat.irc_clients import Network


class OneAccount:
    """Accounts with one of them."""

    async def check(self, name: str, password: str, source: str = "-") -> bool:
        if password == "again":
            raise NotTried("denied", "too many wrong passwords: wait 60 seconds")
        return (name, password) == ("ann", "secret")


def a_login(name: str, password: str) -> str:
    return "AUTHENTICATE " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def test_a_client_with_name_and_user_is_welcomed() -> None:
    client = Network(motd=("hello", "there")).connect()
    client.says("NICK ann", "USER ann 0 * :Ann")
    lines = client.reads()
    assert [line.split(" ")[1] for line in lines] == [
        *("001", "002", "003", "004", "005", "005", "251", "254", "255", "375", "372", "372", "376")
    ]
    assert lines[0] == ":irc.example 001 ann :Welcome to the example chat, ann!ann@cloak"
    assert all(len(line.split(" :")[0].split(" ")) <= 15 for line in lines)


def test_the_server_tells_what_it_supports() -> None:
    client = Network().connect()
    client.says("USER ann 0 * :Ann", "NICK ann")
    tokens = " ".join(line for line in client.reads() if " 005 " in line)
    for token in (
        "NETWORK=example",
        "CASEMAPPING=ascii",
        "CHANTYPES=#",
        "PREFIX=(ov)@+",
        "CHANMODES=beI,k,l,imnst",
        "NICKLEN=24",
        "UTF8ONLY",
        "MONITOR=100",
        "WHOX",
        "CHATHISTORY=200",
        "MSGREFTYPES=msgid,timestamp",
    ):
        assert f" {token} " in tokens


def test_a_chat_without_a_message_of_the_day_says_so() -> None:
    client = Network().connect()
    assert client.numerics("NICK ann", "USER ann 0 * :Ann")[-1] == "422"


def test_nothing_but_registration_is_answered_before() -> None:
    """Irssi asks with `JOIN :` and waits for 451."""
    client = Network().connect()
    assert client.numerics("JOIN :", "PRIVMSG #a :x", "FOO") == ["451", "451", "451"]


@pytest.mark.parametrize(
    ("line", "numeric"),
    [("NICK", "431"), ("NICK :", "431"), ("USER ann", "461"), ("PASS", "461"), ("CAP FOO", "410")],
)
def test_what_is_missing_is_told_by_its_numeric(line: str, numeric: str) -> None:
    assert Network().connect().numerics(line) == [numeric]


@pytest.mark.parametrize(
    ("nick", "numeric"), [("a b", "432"), ("[ann]", "432"), ("Bob", "433"), ("b0b", "433")]
)
def test_a_name_that_cannot_be_had_is_refused_and_the_next_one_taken(nick: str, numeric: str) -> None:
    network = Network()
    network.client("bob")
    client = network.connect()
    assert client.numerics(f"NICK :{nick}", "USER ann 0 * :Ann") == [numeric]
    assert client.numerics("NICK ann")[0] == "001"


def test_a_client_that_tries_names_without_end_is_ended() -> None:
    network = Network()
    network.client("bob")
    client = network.connect()
    client.says("USER ann 0 * :Ann", *(f"NICK {'bB'[number % 2]}ob" for number in range(NAME_TRIES + 5)))
    lines = client.reads()
    assert [line.split(" ")[1] for line in lines[:-1]] == ["433"] * (NAME_TRIES - 1)
    assert lines[-1] == "ERROR :Closing link: none of your names was free"
    assert client.is_closed


def test_a_full_chat_ends_the_connection_and_no_name_is_tried_again() -> None:
    network = Network(people=1)
    network.client("bob")
    client = network.connect()
    client.says("NICK ann", "USER ann 0 * :Ann")
    assert client.reads() == ["ERROR :Closing link: the chat is full: 1 members"]
    assert client.is_closed


def test_registration_waits_for_the_end_of_the_negotiation() -> None:
    client = Network().connect()
    client.says("CAP LS 302", "NICK ann", "USER ann 0 * :Ann")
    assert [line.split(" ")[1] for line in client.reads()] == ["CAP"]
    assert client.numerics("CAP END")[0] == "001"


def test_all_capabilities_of_a_request_are_given_or_none() -> None:
    client = Network().connect()
    client.says("CAP REQ :server-time nothing", "CAP LIST", "CAP REQ :server-time batch", "CAP LIST")
    client.says("CAP REQ :-batch", "CAP LIST")
    assert client.reads() == [
        ":irc.example CAP * NAK :server-time nothing",
        ":irc.example CAP * LIST :",
        ":irc.example CAP * ACK :server-time batch",
        ":irc.example CAP * LIST :batch server-time",
        ":irc.example CAP * ACK :-batch",
        ":irc.example CAP * LIST :server-time",
    ]


def test_sasl_is_offered_only_where_there_are_accounts() -> None:
    for accounts, offered in ((None, False), (OneAccount(), True)):
        client = Network(accounts=accounts).connect()
        client.says("CAP LS 302")
        assert (" sasl=PLAIN " in client.reads()[0] + " ") is offered
        client.says("CAP REQ :sasl")
        assert ("ACK" in client.reads()[0]) is offered


def test_a_client_logs_in_with_the_password_of_its_account() -> None:
    network = Network(accounts=OneAccount())
    client = network.connect()
    client.says("CAP REQ :sasl", "NICK ann", "USER ann 0 * :Ann", "AUTHENTICATE PLAIN")
    assert client.reads()[-1] == "AUTHENTICATE +"
    assert client.numerics(a_login("ann", "secret")) == ["900", "903"]
    assert client.numerics(a_login("ann", "secret")) == ["907"]
    assert client.numerics("CAP END")[0] == "001"
    person = network.hub.find("ann")
    assert person is not None
    assert person.account == "ann"


@pytest.mark.parametrize(
    ("lines", "numerics"),
    [
        (["AUTHENTICATE EXTERNAL"], ["908", "904"]),
        (["AUTHENTICATE PLAIN", a_login("ann", "wrong")], ["+", "904"]),
        (["AUTHENTICATE PLAIN", a_login("ann", "again")], ["+", "904"]),
        (["AUTHENTICATE PLAIN", "AUTHENTICATE !!!!"], ["+", "904"]),
        (["AUTHENTICATE PLAIN", "AUTHENTICATE +"], ["+", "904"]),
        (["AUTHENTICATE PLAIN", "AUTHENTICATE *"], ["+", "906"]),
        (["AUTHENTICATE PLAIN", "AUTHENTICATE " + "A" * 401], ["+", "905"]),
        (["AUTHENTICATE PLAIN", *["AUTHENTICATE " + "A" * 400] * (MAX_CREDENTIALS // 400 + 1)], ["+", "905"]),
    ],
)
def test_a_login_that_fails_is_told_by_its_numeric(lines: list[str], numerics: list[str]) -> None:
    client = Network(accounts=OneAccount()).connect()
    client.says("CAP REQ :sasl")
    client.reads()
    assert client.numerics(*lines) == numerics


@pytest.mark.parametrize("padding", [289, 300])
def test_a_login_of_several_lines_is_put_together(padding: int) -> None:
    client = Network(accounts=OneAccount()).connect()
    client.says("CAP REQ :sasl", "AUTHENTICATE PLAIN")
    client.reads()
    encoded = base64.b64encode(("x" * padding + "\0ann\0secret").encode()).decode()
    lines = (f"AUTHENTICATE {encoded[:400]}", f"AUTHENTICATE {encoded[400:] or '+'}")
    assert client.numerics(*lines) == ["900", "903"]


@pytest.mark.parametrize("word", ["secret", "ann:secret"])
def test_a_client_without_sasl_logs_in_with_pass(word: str) -> None:
    network = Network(accounts=OneAccount())
    client = network.connect()
    assert client.numerics(f"PASS {word}", "NICK ann", "USER ann 0 * :Ann")[0] == "001"
    person = network.hub.find("ann")
    assert person is not None
    assert person.account == "ann"


def test_a_wrong_password_ends_the_connection_and_is_not_needed_without_accounts() -> None:
    client = Network(accounts=OneAccount()).connect()
    client.says("PASS wrong", "NICK ann", "USER ann 0 * :Ann")
    assert client.reads()[-1] == "ERROR :Closing link: wrong account or password"
    assert client.is_closed
    assert Network().connect().numerics("PASS x", "NICK ann", "USER ann 0 * :Ann")[0] == "001"


def test_whoever_hangs_up_while_its_password_is_looked_at_does_not_enter() -> None:
    answer: Deferred[bool] = Deferred()

    class Slow:
        async def check(self, name: str, password: str, source: str = "-") -> bool:
            return await answer

    network = Network(accounts=Slow())
    client = network.connect()
    client.says("PASS secret", "NICK ann", "USER ann 0 * :Ann")
    client.hangs_up()
    answer.callback(True)
    network.turn()
    assert network.hub.find("ann") is None
    assert not network.clock.getDelayedCalls()


def test_a_name_that_cannot_be_had_is_refused_before_the_rest_of_the_registration() -> None:
    network = Network()
    network.client("bob")
    client = network.connect()
    client.says("NICK bob", "NICK :x y", "CAP LS 302")
    assert [line.split(" ")[1:3] for line in client.reads()] == [["433", "*"], ["432", "*"], ["CAP", "*"]]


def test_a_client_registers_once() -> None:
    client = Network().client("ann")
    assert client.numerics("USER ann 0 * :Ann", "PASS x") == ["462", "462"]


def test_a_client_that_does_not_register_is_ended() -> None:
    network = Network()
    client = network.connect()
    client.says("NICK ann")
    network.passes(REGISTRATION_TIME - ROUND)
    assert not client.is_closed
    network.passes(ROUND)
    assert client.reads() == ["ERROR :Closing link: you have not registered within 60 seconds"]
    assert client.is_closed


def test_a_silent_client_is_asked_for_a_sign_of_life_and_then_ended() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a"), network.client("bob", "#a")
    ann.reads()
    network.passes(QUIET_TIME)
    assert ann.reads() == ["PING :irc.example"]
    bob.says("PONG (null)")
    network.passes(ANSWER_TIME)
    assert ann.is_closed
    assert not bob.is_closed
    assert ":ann!ann@irc.example QUIT :no sign of life for 150 seconds" in bob.reads()
    assert network.hub.find("ann") is None


def test_a_sign_of_life_of_a_client_is_answered() -> None:
    client = Network().connect()
    client.says("PING", "PING a b", "PING :a b")
    assert client.reads() == [
        ":irc.example 409 * :No origin specified",
        ":irc.example PONG irc.example :a",
        ":irc.example PONG irc.example :a b",
    ]


def test_whoever_quits_is_gone_with_its_reason() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a"), network.client("bob", "#a")
    ann.says("QUIT :see you")
    assert ann.reads()[-1] == "ERROR :Closing link: Quit"
    assert ann.is_closed
    assert bob.reads() == [":ann!ann@irc.example QUIT :Quit: see you"]


def test_whoever_hangs_up_is_gone() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a"), network.client("bob", "#a")
    ann.hangs_up()
    assert bob.reads() == [":ann!ann@irc.example QUIT :Connection closed"]
    assert network.hub.find("ann") is None


def test_no_timer_outlives_the_last_client() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a"), network.connect()
    assert network.clock.getDelayedCalls()
    ann.hangs_up()
    bob.hangs_up()
    assert not network.clock.getDelayedCalls()


def test_a_line_that_never_ends_ends_the_connection() -> None:
    client = Network().connect()
    client.sends(b"x" * 9000)
    assert client.reads() == ["ERROR :Closing link: a line has at most 8191 bytes"]
    assert client.is_closed


def test_the_end_of_the_chat_is_told() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    network.hub.close("the server is closing")
    assert ann.reads() == ["ERROR :the server is closing"]
    assert ann.is_closed
