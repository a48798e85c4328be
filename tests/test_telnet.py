from hypothesis import given
from hypothesis import strategies as st

from sockd.telnet import Telnet

IAC = b"\xff"
WILL, WONT, DO, DONT = b"\xff\xfb", b"\xff\xfc", b"\xff\xfd", b"\xff\xfe"
SB, SE, AYT = b"\xff\xfa", b"\xff\xf0", b"\xff\xf6"
PUTTY = b"".join(
    (WILL, b"\x1f", WILL, b"\x20", WILL, b"\x18", WILL, b"\x27", DO, b"\x01", WILL, b"\x03", DO, b"\x03")
)
REFUSED = b"".join(
    (DONT, b"\x1f", DONT, b"\x20", DONT, b"\x18", DONT, b"\x27", WONT, b"\x01", DONT, b"\x03", WONT, b"\x03")
)


class Peer:
    """Answers to a peer, and the text that it has sent."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.telnet = Telnet(self.answers.append)

    def sends(self, *pieces: bytes) -> bytes:
        return b"".join(map(self.telnet.feed, pieces))


def test_every_option_is_refused_in_one_answer_and_the_text_goes_on() -> None:
    peer = Peer()
    assert peer.sends(PUTTY + b"ann\r\n") == b"ann\r\n"
    assert peer.answers == [REFUSED]


def test_an_option_is_refused_once_and_a_refusal_is_never_answered() -> None:
    peer = Peer()
    peer.sends(WILL + b"\x1f", WILL + b"\x1f", WONT + b"\x1f", DONT + b"\x01", DO + b"\x01", DO + b"\x01")
    assert b"".join(peer.answers) == DONT + b"\x1f" + WONT + b"\x01"


def test_two_ends_that_refuse_everything_fall_silent() -> None:
    ann, bob = Peer(), Peer()
    ann.sends(PUTTY)
    for _ in range(3):
        bob.sends(*ann.answers)
        ann.sends(*bob.answers)
    assert bob.answers == []
    assert len(ann.answers) == 1


def test_a_timing_mark_is_answered_each_time_as_the_client_waits_for_it() -> None:
    peer = Peer()
    mark = DO + b"\x06"
    assert peer.sends(b"\xff\xf4" + mark, b"\xff\xf4" + mark) == b""
    assert peer.answers == [WONT + b"\x06"] * 2


def test_the_question_are_you_there_is_answered() -> None:
    peer = Peer()
    assert peer.sends(b"he" + AYT + b"llo") == b"hello"
    assert peer.answers == [b"[yes]\r\n"]


def test_the_details_of_an_option_are_no_text() -> None:
    peer = Peer()
    assert peer.sends(b"a" + SB + b"\x1f\0\x50\r\0" + IAC + IAC + b"\xf0\n" + SE + b"b\r\n") == b"ab\r\n"


def test_a_doubled_byte_is_the_byte() -> None:
    assert Peer().sends(b"a" + IAC + IAC + b"b") == b"a\xffb"


def test_plain_text_in_any_encoding_is_not_touched() -> None:
    for text in ("grüße\r\n漢字 👋\n\r\0".encode(), b"caf\xe9\n", b"\xff", b"na\xffve\n", b"\xff\n"):
        peer = Peer()
        assert peer.sends(text, b"x") == text + b"x"
        assert peer.answers == []
        assert peer.telnet.line_end == b"\n"


def test_lines_of_a_telnet_peer_end_as_the_terminal_needs_it() -> None:
    peer = Peer()
    assert peer.sends(DO + b"\x03", b"one\r", b"\0two\r\nthree\r\0") == b"one\r\ntwo\r\nthree\r\n"
    assert peer.telnet.line_end == b"\r\n"


def test_a_mark_whose_second_byte_came_as_urgent_data_swallows_nothing() -> None:
    assert Peer().sends(PUTTY, IAC + b"hello\r\n") == b"hello\r\n"


def test_a_byte_that_may_begin_a_command_waits_for_the_next_piece_only() -> None:
    peer = Peer()
    assert [peer.telnet.feed(piece) for piece in (b"a\xff", b"\xfb", b"\x1f", b"b")] == [b"a", b"", b"", b"b"]
    assert peer.answers == [DONT + b"\x1f"]


COMMANDS = st.sampled_from((PUTTY, SB + b"\x1f\0\x50" + SE, AYT, DO + b"\x06", IAC + IAC, b"\r", b"\r\0"))


@given(st.lists(COMMANDS | st.binary(max_size=5)), st.lists(st.integers(1, 4), min_size=1))
def test_text_and_answers_are_the_same_however_the_stream_is_cut(
    parts: list[bytes], sizes: list[int]
) -> None:
    stream = b"".join(parts)
    whole, cut = Peer(), Peer()
    expected = whole.sends(stream)
    at, found = 0, b""
    for number in range(len(stream)):
        size = sizes[number % len(sizes)]
        found += cut.sends(stream[at : at + size])
        at += size
    assert found == expected
    assert b"".join(cut.answers) == b"".join(whole.answers)


@given(st.binary())
def test_any_bytes_are_taken_and_never_answered_with_more_than_four_times_as_much(data: bytes) -> None:
    peer = Peer()
    peer.sends(data)
    assert len(b"".join(peer.answers)) <= 4 * len(data)


@given(st.text())
def test_utf8_is_never_taken_for_a_command(text: str) -> None:
    peer = Peer()
    assert peer.sends(text.encode()) == text.encode()
    assert peer.answers == []
