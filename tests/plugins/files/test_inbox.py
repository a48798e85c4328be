from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.files.stream.inbox import Inbox

PIECES = st.lists(
    st.one_of(st.binary(max_size=20), st.integers(1, 6000).map(lambda size: bytes([size % 251]) * size))
)


@given(PIECES, st.lists(st.integers(0, 9000)))
def test_bytes_come_out_in_order_whatever_the_pieces_are(pieces: list[bytes], takes: list[int]) -> None:
    inbox = Inbox()
    for piece in pieces:
        inbox.append(piece)
    left = b"".join(pieces)
    for most in takes:
        assert inbox.head(most) == left[:most]
        assert b"".join(inbox.take(most)) == left[:most]
        left = left[most:]
        assert len(inbox) == len(left)
        inbox.append(b"more")
        left += b"more"
    assert b"".join(inbox.take(len(inbox))) == left


def test_small_pieces_are_joined() -> None:
    inbox = Inbox()
    for _ in range(100_000):
        inbox.append(b"x")
    assert len(inbox.take(100_000)) < 50


def test_large_pieces_are_passed_on_without_a_copy() -> None:
    inbox = Inbox()
    data = bytes(100_000)
    inbox.append(data)
    assert inbox.take(100_000)[0] is data
