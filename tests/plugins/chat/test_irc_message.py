import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.chat.irc.answers import labelled
from sockd_plugins.chat.irc.message import (
    MAX_LINE,
    MAX_PARAMETERS,
    MAX_TAGS,
    InputTooLong,
    Message,
    NotUtf8,
    escaped,
    parse,
    repeated,
)
from sockd_plugins.chat.irc.text import parsed_timestamp, pieces, timestamp, unformatted, wrapped


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NICK ann", Message("NICK", ("ann",))),
        ("nick  ann ", Message("NICK", ("ann",))),
        ("NICK :ann", Message("NICK", ("ann",))),
        ("JOIN :", Message("JOIN", ("",))),
        (":ann!a@h PRIVMSG #a :hello there: you", Message("PRIVMSG", ("#a", "hello there: you"))),
        ("PRIVMSG #a ::)", Message("PRIVMSG", ("#a", ":)"))),
        ("PRIVMSG #a hello", Message("PRIVMSG", ("#a", "hello"))),
        ("@a=b;+c;d=x\\sy\\:\\\\ PING :t", Message("PING", ("t",), {"a": "b", "+c": "", "d": "x y;\\"})),
        ("@label=1 ", None),
        ("", None),
        ("   ", None),
        (":ann", None),
        ("@;=;==; PING t", Message("PING", ("t",))),
        ("PING a\0b\rc", Message("PING", ("abc",))),
    ],
)
def test_a_line_is_read_as_rfc_1459_and_message_tags_say(line: str, expected: Message | None) -> None:
    assert parse(line.encode()) == expected


def test_a_line_has_at_most_15_parameters() -> None:
    message = parse(b"WHO " + b" ".join(b"%d" % number for number in range(40)))
    assert message is not None
    assert len(message.parameters) == MAX_PARAMETERS


def test_tags_and_the_rest_of_a_line_are_bounded_by_themselves() -> None:
    tags = b"@" + b"a" * (MAX_TAGS - 2) + b" "
    line = b"PING " + b"x" * (MAX_LINE - 5)
    assert parse(tags + line) is not None
    for longer in (b"@x" + tags[1:] + line, tags + line + b"x"):
        with pytest.raises(InputTooLong):
            parse(longer)


def test_other_bytes_than_utf_8_are_refused_with_the_command() -> None:
    with pytest.raises(NotUtf8, match="PRIVMSG"):
        parse(b"PRIVMSG #a :caf\xe9")
    with pytest.raises(NotUtf8, match=r"\*"):
        parse(b"\xff\xfe")


@given(st.binary(max_size=300))
def test_no_line_is_a_surprise(line: bytes) -> None:
    try:
        message = parse(line)
    except (InputTooLong, NotUtf8):
        return
    if message is not None:
        assert " " not in message.command
        assert not any("\r" in word or "\0" in word for word in message.parameters)


@given(st.text(max_size=50))
def test_a_value_of_a_tag_is_read_as_it_was_meant(value: str) -> None:
    value = value.replace("\0", "")
    message = parse(f"@key={escaped(value)} PING".encode())
    assert message is not None
    assert message.tags["key"] == value


@given(st.text(max_size=300), st.integers(4, 40))
def test_pieces_are_bounded_and_leave_nothing_out(text: str, size: int) -> None:
    found = pieces(text, size)
    assert "".join(found) == text
    assert all(len(piece.encode()) <= size for piece in found)
    assert len(found) <= 1 + len(text.encode()) * 2 // (size - 3)


def test_text_is_cut_behind_a_space() -> None:
    assert pieces("the quick brown fox", 12) == ["the quick ", "brown fox"]


@given(st.lists(st.text("abcé", min_size=1, max_size=8)))
def test_words_are_wrapped_in_order(words: list[str]) -> None:
    lines = wrapped(words, 20)
    assert [word for line in lines for word in line.split()] == words
    assert all(len(line.encode()) <= 20 for line in lines)


def test_formatting_is_left_out() -> None:
    assert unformatted("\x02bold\x02 \x0304,12red\x03 \x04ff0000x\x0f plain") == "bold red x plain"
    assert unformatted("1,2 and ,3") == "1,2 and ,3"


@given(st.floats(1e9, 4e9))
def test_a_time_that_was_sent_names_the_same_millisecond(at: float) -> None:
    sent = timestamp(at)
    read = parsed_timestamp(sent)
    assert read is not None
    assert timestamp(read) == sent
    assert 0 <= at - read + 1e-6 < 0.002


@pytest.mark.parametrize("text", ["", "noon", "2026-13-01T00:00:00Z", "*"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    assert parsed_timestamp(text) is None


@pytest.mark.parametrize(
    ("word", "expected"), [("#a", "#a"), ("", "*"), (":x", "*"), ("a b", "a_b"), ("\x1b[31m", r"\x1b[31m")]
)
def test_a_word_of_a_peer_stays_one_word(word: str, expected: str) -> None:
    assert repeated(word) == expected
    assert len(repeated("x" * 1000)) < 100


def test_an_answer_carries_its_label_however_long_it_is() -> None:
    assert labelled("s", "", ["a"]) == ["a"]
    assert labelled("s", "1", []) == ["@label=1 :s ACK"]
    assert labelled("s", "1", [":s PONG"]) == ["@label=1 :s PONG"]
    assert labelled("s", "1", ["@time=x :s PONG"]) == ["@label=1;time=x :s PONG"]
    assert labelled("s", "1", [":a", "@time=x :b", "@batch=history :c"]) == [
        "@label=1 :s BATCH +answer labeled-response",
        "@batch=answer :a",
        "@batch=answer;time=x :b",
        "@batch=history :c",
        ":s BATCH -answer",
    ]
