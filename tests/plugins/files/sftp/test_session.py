from __future__ import annotations

import hashlib
import math
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockd_plugins.files.sftp import handles, packets
from sockd_plugins.files.sftp.fields import long, number, string
from sockd_plugins.files.sftp.open_file import MOST_EARLY
from sockd_plugins.files.storage.sender import Sender, Share
from sockd_plugins.files.storage.store import PARTS
from tests.plugins.files.sftp.client import APPEND, TRUNCATE, WRITE, Client, Service

MIB = 1 << 20
DATA = random.Random(1).randbytes(3 * MIB)
SIZES = [0, 1, 65535, 65536, 65537, 32768, 3 * 32768]
PIECE = 32768
FULL = packets.LARGEST - 25  # bytes of the largest WRITE that a packet has room for


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()


def attributes(*, size: int | None = None, times: tuple[int, int] | None = None) -> bytes:
    flags = (size is not None) | (8 if times else 0)
    fields = [number(flags)]
    if size is not None:
        fields.append(long(size))
    return b"".join(fields + [number(each) for each in times or ()])


def send(client: Client, handle: bytes, data: bytes, start: int = 0, piece: int = PIECE) -> None:
    for offset in range(start, len(data), piece):
        assert client.write(handle, offset, data[offset : offset + piece]) == packets.OK


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_there_when_close_is_answered_and_not_before(
    client: Client, folder: Path, size: int
) -> None:
    handle = client.open("a.bin")
    send(client, handle, DATA[:size])
    assert not (folder / "a.bin").exists()
    assert client.close(handle) == packets.OK
    assert (folder / "a.bin").read_bytes() == DATA[:size]
    assert os.listdir(folder / PARTS) in ([], [".stored"])


def test_extensions_of_openssh_are_offered_and_answered(client: Client) -> None:
    for name in packets.EXTENSIONS:
        assert string(name) + string(b"1") in client.version
    kind, _, rest = client.ask(packets.EXTENDED, string(b"limits@openssh.com"))
    assert kind == packets.EXTENDED_REPLY
    size, read, write, handles = (rest.long() for _ in range(4))
    assert (size, read, handles) == (262144, write, packets.MOST_HANDLES)
    assert write in packets.WRITE_LENGTHS
    handle = client.open("a")
    client.write(handle, 0, b"durable")
    assert client.code(packets.EXTENDED, string(b"fsync@openssh.com"), string(handle)) == packets.OK
    assert client.code(packets.EXTENDED, string(b"other@example.org")) == packets.UNSUPPORTED


def test_requests_may_come_in_any_pieces(service: Service, folder: Path) -> None:
    whole = service.client()
    handle = whole.open("first")
    whole.close(handle)
    client = service.client()
    handle = client.open("a")
    stream = b"".join(
        client.request(packets.WRITE, string(handle), long(offset), string(DATA[offset : offset + PIECE]))
        for offset in range(0, 10 * PIECE, PIECE)
    ) + client.request(packets.CLOSE, string(handle))
    chance = random.Random(2)
    while stream:
        cut = chance.choice([1, 3, 29, 5000, 70_000])
        client.feed(stream[:cut])
        stream = stream[cut:]
    assert [answer[2].number() for answer in client.answers()] == [packets.OK] * 11
    assert (folder / "a").read_bytes() == DATA[: 10 * PIECE]


def test_writes_that_come_out_of_order_are_put_in_order(client: Client, folder: Path) -> None:
    handle = client.open("a")
    offsets = list(range(0, 2 * MIB, PIECE))
    random.Random(3).shuffle(offsets)
    for offset in offsets:
        assert client.write(handle, offset, DATA[offset : offset + PIECE]) == packets.OK
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == DATA[: 2 * MIB]


def test_a_hole_is_refused_at_the_close(client: Client, folder: Path) -> None:
    handle = client.open("a")
    client.write(handle, 0, b"begin")
    client.write(handle, 10, b"end")
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()
    assert client.size("a") is None, "a client that does not look at the answer looks at the size"


def test_a_write_far_ahead_is_refused_and_so_is_all_that_follows(client: Client, folder: Path) -> None:
    handle = client.open("a")
    assert client.write(handle, 0, b"begin") == packets.OK
    assert [client.write(handle, MIB * n, bytes(200_000)) for n in range(1, 60)][-1] == packets.FAILURE
    assert client.write(handle, 5, b"more") == packets.FAILURE
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


def test_what_was_written_cannot_be_changed(client: Client, folder: Path) -> None:
    handle = client.open("a")
    client.write(handle, 0, b"begin")
    assert client.write(handle, 2, b"other") == packets.FAILURE
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


def test_what_has_come_early_cannot_be_changed(client: Client, folder: Path) -> None:
    handle = client.open("a")
    assert client.write(handle, 5, b"early") == packets.OK
    assert client.write(handle, 5, b"early") == packets.OK, "a client may repeat it"
    assert client.write(handle, 5, b"other") == packets.FAILURE
    client.write(handle, 0, b"begin")
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


@pytest.mark.parametrize("name", [".hidden", "../.a", "NUL", "a:b", "folder/"])
def test_the_log_has_each_name_that_is_refused(client: Client, name: str) -> None:
    assert client.code(packets.OPEN, string(name), number(TRUNCATE), number(0)) == packets.DENIED
    assert [refused.code for refused in client.refused] == ["bad-name"]


def test_bytes_behind_the_data_of_a_write_are_dropped(client: Client, folder: Path) -> None:
    """rclone sends a short read in a buffer of 32 KiB."""
    handle = client.open("a")
    client.feed(client.request(packets.WRITE, string(handle), long(0), string(b"short"), bytes(32763)))
    assert client.answers()[0][2].number() == packets.OK
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == b"short"


@pytest.mark.parametrize("kind", [*range(3, 21), 200, 99])
def test_every_request_is_answered_however_malformed(client: Client, kind: int) -> None:
    for rest in (b"", b"\0", number(1000), string(b"\xff"), string(b"a") + b"\0", bytes(300)):
        client.feed(client.request(kind, rest))
        (answer,) = client.answers()
        assert answer[1] == client._next


def test_a_packet_that_is_too_long_ends_the_session(client: Client) -> None:
    client.feed(number(packets.LARGEST + 1) + b"\6")
    assert client.status == 1


def test_a_session_ends_well_when_the_client_sends_no_more(client: Client) -> None:
    client.feed(b"", ended=True)
    assert client.status == 0


def test_a_lost_connection_publishes_nothing_and_its_upload_is_resumed(
    service: Service, folder: Path
) -> None:
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:MIB])
    client.lose()
    assert not (folder / "a").exists()

    again = service.client()
    size = again.size("a")
    assert size is not None
    assert 0 < size < MIB, "a client must have something to send, even if all has come"
    handle = again.open("a", APPEND)
    send(again, handle, DATA, size)
    assert again.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == DATA
    assert again.size("a") == len(DATA)


def test_an_upload_of_which_all_has_come_is_resumed_too(service: Service, folder: Path) -> None:
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:1000])
    client.lose()
    again = service.client()
    assert again.size("a") == 999
    handle = again.open("a", APPEND)
    assert again.write(handle, 999, DATA[999:1000]) == packets.OK
    assert again.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == DATA[:1000]


def test_a_client_that_goes_on_and_sends_nothing_publishes_nothing(service: Service, folder: Path) -> None:
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:1000])
    client.lose()
    again = service.client()
    assert again.close(again.open("a", APPEND)) == packets.FAILURE
    assert not (folder / "a").exists()


def test_going_on_behind_what_is_durable_is_refused(service: Service, folder: Path) -> None:
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:1000])
    client.lose()
    again = service.client()
    handle = again.open("a", WRITE)
    assert again.write(handle, 1001, b"x") == packets.FAILURE
    assert again.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


def test_a_file_opened_without_truncation_and_written_from_its_start_begins_anew(
    service: Service, folder: Path
) -> None:
    """So does scp, which tells the size at the end."""
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:MIB])
    client.lose()
    again = service.client()
    handle = again.open("a", WRITE)
    again.write(handle, 0, b"other")
    assert again.code(packets.FSETSTAT, string(handle), attributes(size=5)) == packets.OK
    assert again.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == b"other"
    assert os.listdir(folder / PARTS) in ([], [".stored"]), "the old upload counts no more"


def test_scp_of_an_empty_file_stores_it(client: Client, folder: Path) -> None:
    handle = client.open("a", WRITE)
    assert client.code(packets.FSETSTAT, string(handle), attributes(size=0)) == packets.OK
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == b""


def test_a_size_beyond_what_came_makes_no_hole(client: Client, folder: Path) -> None:
    """scp tells the whole size also after a refused WRITE."""
    handle = client.open("a", WRITE)
    client.write(handle, 0, b"begin")
    client.code(packets.FSETSTAT, string(handle), attributes(size=100))
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


def test_a_size_below_what_came_is_refused(client: Client) -> None:
    handle = client.open("a")
    client.write(handle, 0, b"begin")
    assert client.code(packets.FSETSTAT, string(handle), attributes(size=2)) == packets.FAILURE


def test_an_existing_file_is_never_touched(service: Service, folder: Path) -> None:
    first = service.client()
    assert first.put("a", b"first") == packets.OK
    second = service.client()
    assert second.put("a", b"second") == packets.OK
    assert (folder / "a").read_bytes() == b"first"
    assert (folder / "a (2)").read_bytes() == b"second"
    assert second.size("a") == 6, "this session sees what it has stored"
    assert service.client().size("a") == 5
    assert second.code(packets.REMOVE, string(b"a")) == packets.OK
    assert sorted(os.listdir(folder)) == [PARTS, "a"]
    third = service.client()
    assert third.code(packets.REMOVE, string(b"a")) == packets.DENIED
    assert third.code(packets.RENAME, string(b"a"), string(b"b")) == packets.DENIED
    assert (folder / "a").read_bytes() == b"first"


def test_exclusive_opening_of_an_existing_file_is_refused(client: Client) -> None:
    client.put("a", b"first")
    flags = TRUNCATE | packets.TO_EXCLUDE
    assert client.code(packets.OPEN, string("a"), number(flags), number(0)) == packets.FAILURE


def test_after_a_cut_the_newer_of_upload_and_file_is_seen(service: Service) -> None:
    """lftp goes on from the size that it finds, and would append to an older version."""
    first = service.client()
    first.put("a", bytes(3000))
    second = service.client()
    handle = second.open("a")
    send(second, handle, DATA[:1000])
    second.lose()
    assert service.client().size("a") == 999


def test_an_unfinished_upload_can_be_removed(service: Service) -> None:
    """The first request of rclone after a cut."""
    client = service.client()
    handle = client.open("a")
    send(client, handle, DATA[:1000])
    client.lose()
    again = service.client()
    assert again.code(packets.REMOVE, string(b"a")) == packets.OK
    assert again.size("a") is None


def test_an_upload_that_is_open_can_be_removed(client: Client, folder: Path) -> None:
    """rclone does so when a WRITE was refused, without a CLOSE."""
    handle = client.open("a")
    client.write(handle, 0, b"begin")
    assert client.code(packets.REMOVE, string(b"a")) == packets.OK
    assert client.write(handle, 5, b"more") == packets.FAILURE
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()


def test_a_second_connection_takes_the_upload_over(service: Service, folder: Path) -> None:
    """The server may not have noticed that the first one is lost."""
    first = service.client()
    handle = first.open("a")
    send(first, handle, DATA[:1000])
    service.run(first.session.settle())
    second = service.client()
    assert second.code(packets.EXTENDED, string(b"fsync@openssh.com"), string(b"none")) == packets.FAILURE
    first.code(packets.EXTENDED, string(b"fsync@openssh.com"), string(handle))
    other = second.open("a", APPEND)
    assert second.write(other, 1000, DATA[1000:2000]) == packets.OK
    assert first.write(handle, 1000, b"x") == packets.FAILURE
    assert second.close(other) == packets.OK
    assert (folder / "a").read_bytes() == DATA[:2000]


@pytest.mark.parametrize("extended", [True, False])
def test_a_temporary_name_is_changed_into_the_right_one(
    client: Client, folder: Path, *, extended: bool
) -> None:
    client.put("a.part", b"data")
    name = string(b"posix-rename@openssh.com") if extended else b""
    kind = packets.EXTENDED if extended else packets.RENAME
    assert client.code(kind, name + string(b"a.part"), string(b"a")) == packets.OK
    assert sorted(os.listdir(folder)) == [PARTS, "a"]
    assert client.size("a") == 4


def test_renaming_replaces_no_file(service: Service, folder: Path) -> None:
    service.client().put("a", b"first")
    client = service.client()
    client.put("a.part", b"second")
    assert client.code(packets.RENAME, string(b"a.part"), string(b"a")) == packets.OK
    assert (folder / "a").read_bytes() == b"first"
    assert (folder / "a (2)").read_bytes() == b"second"
    assert client.size("a") == 6


def test_a_user_may_rename_over_another_connection(service: Service, folder: Path) -> None:
    ann = Sender("192.0.2.1", "user:ann", "ann")
    service.client(ann).put("a.part", b"data")
    assert service.client(ann).code(packets.RENAME, string(b"a.part"), string(b"a")) == packets.OK
    assert (folder / "ann" / "a").read_bytes() == b"data"


def test_no_file_is_renamed_to_where_nobody_may_send(folder: Path) -> None:
    service = Service(folder, folders=True, own="receipts", names=("*.part", "*.pdf"))
    client = service.client()
    client.put("a.part", b"data")
    for new in ("receipts/a.pdf", "a.exe"):
        assert client.code(packets.RENAME, string("a.part"), string(new)) != packets.OK
    assert client.code(packets.MKDIR, string("receipts"), number(0)) != packets.OK
    assert client.code(packets.OPEN, string("a.exe"), number(WRITE), number(0)) == packets.DENIED
    assert sorted(os.listdir(folder)) == [PARTS, "a.part"]
    assert client.code(packets.RENAME, string("a.part"), string("a.pdf")) == packets.OK
    service.engine.stop()


def test_the_folder_of_a_user_has_a_quota(service: Service, folder: Path) -> None:
    client = service.client(Sender("192.0.2.1", "user:ann", "ann", share=Share(files=1)))
    assert client.put("a", b"data") == packets.OK
    handle = client.open("b")
    client.write(handle, 0, b"data")
    assert client.close(handle) == packets.FAILURE
    assert os.listdir(folder / "ann") == ["a"]
    text = "the folder of ann may hold 1 file: 1 are stored, 0 are being received"
    assert str(client.refused[-1]) == text


def test_times_are_kept(client: Client, folder: Path) -> None:
    handle = client.open("a")
    client.code(packets.FSETSTAT, string(handle), attributes(times=(10, 20)))
    client.close(handle)
    assert (folder / "a").stat().st_mtime == 20
    assert client.code(packets.SETSTAT, string("a"), attributes(times=(30, 40))) == packets.OK
    assert (folder / "a").stat().st_mtime == 40


def test_times_of_a_file_that_was_there_stay(service: Service, folder: Path) -> None:
    service.client().put("a", b"first")
    os.utime(folder / "a", (10, 20))
    client = service.client()
    assert client.code(packets.SETSTAT, string("a"), attributes(times=(30, 40))) == packets.OK
    assert (folder / "a").stat().st_mtime == 20
    assert client.code(packets.SETSTAT, string("a"), attributes(size=1)) == packets.DENIED
    assert client.code(packets.SETSTAT, string("b"), attributes(times=(30, 40))) == packets.NO_SUCH_FILE


def test_folders_are_made_and_listed(client: Client, folder: Path) -> None:
    assert client.code(packets.MKDIR, string("tree"), number(0)) == packets.OK
    assert client.code(packets.MKDIR, string("tree"), number(0)) == packets.FAILURE
    client.put("tree/a", b"data")
    assert client.list("/") == [".", "..", "tree"]
    assert client.list("tree/") == [".", "..", "a"]
    assert (folder / "tree" / "a").read_bytes() == b"data"
    assert client.code(packets.OPENDIR, string("none")) == packets.NO_SUCH_FILE
    assert client.code(packets.OPEN, string("tree"), number(TRUNCATE), number(0)) == packets.FAILURE


def test_a_session_lists_only_its_own_files(service: Service) -> None:
    service.client().put("a", b"first")
    client = service.client()
    client.put("b", b"second")
    client.write(client.open("c"), 0, b"unfinished")
    assert client.list("/") == [".", "..", "b", "c"]
    service.run(client.session.settle())
    assert client.list("/") == [".", "..", "b", "c"]
    assert service.client(serve=True).list("/") == [".", "..", "a", "b", "c"]


def test_folders_need_to_be_permitted(tmp_path: Path) -> None:
    service = Service(tmp_path / "flat")
    client = service.client()
    assert client.code(packets.MKDIR, string("tree"), number(0)) == packets.DENIED
    assert client.code(packets.OPEN, string("tree/a"), number(TRUNCATE), number(0)) == packets.DENIED
    service.engine.stop()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", ".ssh/authorized_keys", "a\nb", "con", "x/", "/", "", "."]
)
def test_names_stay_within_the_folder_or_are_refused(client: Client, folder: Path, name: str) -> None:
    kind, _, rest = client.ask(packets.OPEN, string(name), number(TRUNCATE), number(0))
    if kind == 102:
        assert client.close(rest.string()) == packets.OK
        assert (folder / "etc" / "passwd").exists()
    else:
        assert rest.number() == packets.DENIED
        assert client.size(name) in (None, 0)


def test_each_user_has_a_folder_of_its_own(service: Service, folder: Path) -> None:
    ann, bob = (service.client(Sender("192.0.2.1", f"user:{name}", name)) for name in ("ann", "bob"))
    ann.put("/a", b"of ann")
    assert bob.size("/a") is None
    assert bob.size("../ann/a") is None
    assert (folder / "ann" / "a").read_bytes() == b"of ann"


def test_reading_is_refused(client: Client) -> None:
    client.put("a", b"data")
    assert client.code(packets.OPEN, string("a"), number(packets.TO_READ), number(0)) == packets.DENIED


def test_open_files_are_bound_in_number(client: Client) -> None:
    for number_ in range(packets.MOST_HANDLES):
        client.open(f"a{number_}")
    assert client.code(packets.OPEN, string("b"), number(TRUNCATE), number(0)) == packets.FAILURE


def test_a_refusal_has_a_text_for_people(tmp_path: Path) -> None:
    service = Service(tmp_path / "small")
    object.__setattr__(service.engine.store.limits, "max_size", 10)
    client = service.client()
    handle = client.open("a")
    client.write(handle, 0, bytes(20))
    service.run(client.session.settle())
    _, _, rest = client.ask(packets.WRITE, string(handle), long(20), string(b"x"))
    assert (rest.number(), rest.text()) == (packets.FAILURE, "expected at most 10 bytes, found more")
    client.close(handle)
    assert [refused.code for refused in client.refused] == ["too-large"]
    service.engine.stop()


def test_memory_is_free_once_the_disk_has_it(client: Client) -> None:
    handle = client.open("a")
    client.write(handle, 0, b"begin")
    client.write(handle, 10, b"early")
    assert client.session.held == 10
    client.service.run(client.session.settle())
    assert (client.session.held, client.session.room) == (5, 0)


def test_a_write_of_nothing_changes_nothing(client: Client, folder: Path) -> None:
    handle = client.open("a")
    client.write(handle, 0, b"data")
    for offset in (0, 2, 1000):
        assert client.write(handle, offset, b"") == packets.OK
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == b"data"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_within_the_bound_gives_the_same_file(service: Service, data: st.DataObject) -> None:
    """Windows end within writes, and data that came early goes on behind them."""
    sizes = data.draw(st.lists(st.sampled_from([1, 1000, 32768, 65536, FULL]), max_size=16))
    content = random.Random(1).randbytes(sum(sizes))
    starts = [sum(sizes[:count]) for count in range(len(sizes))]
    client = service.client()
    handle = client.open("a")
    for start, size in data.draw(st.permutations(list(zip(starts, sizes, strict=True)))):
        assert client.write(handle, start, content[start : start + size]) == packets.OK
    assert client.close(handle) == packets.OK
    (stored,) = client.stored
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_early_data_of_all_files_is_bound(client: Client) -> None:
    piece = bytes(FULL)
    handles = [client.open(f"file-{count}") for count in range(packets.MOST_HANDLES)]
    for handle in handles:
        client.write(handle, 10, piece)
    assert client.session.held <= MOST_EARLY
    assert client.close(handles[-1]) == packets.FAILURE


def test_files_that_wait_for_their_client_keep_little_memory(client: Client) -> None:
    piece = bytes(FULL)
    handles = [client.open(f"file-{count}") for count in range(packets.MOST_HANDLES)]
    for turn in range(3):
        for handle in handles:
            client.write(handle, turn * len(piece), piece)
            assert client.session.room <= 10 << 20
    for handle in handles:
        assert client.close(handle) == packets.OK


@pytest.mark.parametrize("writes", [1, 3])
def test_a_file_that_ends_with_a_full_write_was_interrupted(
    client: Client, folder: Path, writes: int
) -> None:
    """Ctrl-C in OpenSSH's sftp: the file is closed after a WRITE like all others."""
    full = client.limits()
    data = random.Random(1).randbytes(writes * full + 5)
    handle = client.open("a")
    send(client, handle, data[: writes * full], piece=full)
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()
    size = client.size("a")
    assert size == writes * full - 1
    handle = client.open("a", APPEND)
    client.write(handle, size, data[size:])
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == data


@pytest.mark.parametrize("set_to_nothing", [True, False])
def test_a_client_that_goes_on_and_is_interrupted_sets_a_size(
    client: Client, folder: Path, set_to_nothing: bool
) -> None:
    """Ctrl-C in `put -a` of OpenSSH's sftp, which sets no size at the end of the file.

    Version 9.2 sets 0, later ones what they have sent.
    """
    full = client.limits()
    data = random.Random(1).randbytes(3 * full + 5)
    handle = client.open("a")
    send(client, handle, data[:full], piece=full)
    client.close(handle)
    start = client.size("a")
    assert start == full - 1
    handle = client.open("a", APPEND)
    client.write(handle, start, data[start : start + full])
    size = 0 if set_to_nothing else start + full
    client.code(packets.FSETSTAT, string(handle), attributes(size=size))
    assert client.close(handle) == packets.FAILURE
    assert not (folder / "a").exists()
    start = client.size("a")
    assert start == 2 * full - 2
    handle = client.open("a", APPEND)
    send(client, handle, data, start, full)
    assert client.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == data


def test_a_client_that_tells_the_size_may_end_with_a_full_write(client: Client, folder: Path) -> None:
    full = client.limits()
    handle = client.open("a")
    client.write(handle, 0, bytes(full))
    client.code(packets.FSETSTAT, string(handle), attributes(size=full))
    assert client.close(handle) == packets.OK
    assert (folder / "a").exists()


@pytest.mark.parametrize("length", packets.WRITE_LENGTHS)
def test_a_client_that_asks_for_no_length_may_end_with_any_write(client: Client, length: int) -> None:
    handle = client.open("a")
    client.write(handle, 0, bytes(length))
    assert client.close(handle) == packets.OK


def test_a_file_that_is_refused_for_its_size_is_stored_by_another_session(
    service: Service, folder: Path
) -> None:
    first = service.client()
    size = full = first.limits()
    handle = first.open("a")
    send(first, handle, bytes(size), piece=full)
    assert first.close(handle) == packets.FAILURE
    while full == size:
        second = service.client()
        full = second.limits()
    handle = second.open("a")
    send(second, handle, bytes(size), piece=full)
    assert second.close(handle) == packets.OK
    assert (folder / "a").read_bytes() == bytes(size)


def test_lengths_of_writes_have_no_common_multiples_of_use() -> None:
    for length in packets.WRITE_LENGTHS:
        assert all(length % divisor for divisor in range(2, math.isqrt(length) + 1))
        assert length <= packets.LARGEST - 1024, "OpenSSH's client sends no more"


def test_names_of_open_folders_are_bound_in_number(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "_MOST_ENTRIES", 2)
    assert client.ask(packets.OPENDIR, string(""))[0] == 102
    assert client.code(packets.OPENDIR, string("")) == packets.FAILURE
