import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockd_plugins.files.storage.aligned import address, aligned_memory
from sockd_plugins.files.storage.direct import BLOCK, LEAST, DirectWriter
from sockd_plugins.files.storage.pieces import Piece

DATA = os.urandom(5 * LEAST + 3 * BLOCK + 7)
MIB = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield file
    os.close(file)


def written(file: int, writer: DirectWriter, *writes: Sequence[Piece]) -> None:
    """Write, and compare the file and the digest with what was written."""
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    for pieces in writes:
        writer.write(file, pieces, digest)
    data = b"".join(piece for pieces in writes for piece in pieces)
    assert os.lseek(file, 0, os.SEEK_CUR) == len(data)
    assert os.pread(file, len(data) + 1, 0) == data
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT


def direct_writes(monkeypatch: pytest.MonkeyPatch, *, short: int = 0, fails: int = 0) -> list[int]:
    """Watch the writes past the page cache, and disturb them."""
    lengths: list[int] = []
    real = os.write

    def write(file: int, data: Any) -> int:
        if not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            return real(file, data)
        if fails:
            raise OSError(fails, os.strerror(fails))
        if short:
            data = data[:short]
        lengths.append(len(data))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    return lengths


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(DATA)), max_size=12), groups=st.integers(1, 4))
def test_however_the_data_is_cut_the_file_is_the_same(file: int, cuts: list[int], groups: int) -> None:
    ends = [0, *sorted(cuts), len(DATA)]
    pieces = [DATA[start:end] for start, end in pairwise(ends)]
    written(file, DirectWriter(), *(pieces[start::1][:groups] for start in range(0, len(pieces), groups)))


def test_large_aligned_writes_do_not_touch_the_page_cache(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = direct_writes(monkeypatch)
    written(file, DirectWriter(), [b"a" * MIB, b"b" * 2 * MIB], [b"c" * LEAST])
    assert lengths == [2 * MIB, MIB, LEAST]


def test_a_piece_whose_place_in_memory_fits_is_not_copied(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = memoryview(aligned_memory(2 * MIB)).cast("B")
    memory[:] = os.urandom(2 * MIB)
    addresses = []
    real = os.write

    def write(file: int, data: Any) -> int:
        addresses.append(address(data) - address(memory))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    odd = BLOCK - 7
    written(file, DirectWriter(), [memory[: LEAST + odd]], [memory[LEAST + odd :], b"tail"])
    assert addresses == [0, LEAST + BLOCK]


def test_a_piece_whose_place_does_not_fit_is_copied(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = memoryview(aligned_memory(MIB)).cast("B")
    memory[:] = os.urandom(MIB)
    lengths = direct_writes(monkeypatch)
    written(file, DirectWriter(), [b"six by", memory[7:]], [b"1", memory[: MIB - BLOCK]])
    assert lengths == [MIB - BLOCK, MIB - BLOCK]


def test_an_aligned_piece_of_whole_blocks_is_written_as_it_is(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = direct_writes(monkeypatch)
    piece = memoryview(mmap(-1, 3 * MIB))
    piece[:] = os.urandom(3 * MIB)
    written(file, DirectWriter(), [piece])
    assert lengths == [3 * MIB]
    written(file, DirectWriter(), [piece[1 : MIB + 1]], [piece[: MIB + 1]], [piece[:MIB]])


def test_small_writes_go_through_the_page_cache(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = direct_writes(monkeypatch)
    written(file, DirectWriter(), [b"a" * (LEAST - 1)])
    assert lengths == []


def test_after_a_write_that_ended_within_a_block_the_next_is_aligned_again(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = direct_writes(monkeypatch)
    written(file, DirectWriter(), [b"a" * (LEAST + 5)], [b"b" * LEAST])
    assert lengths == [LEAST, LEAST - BLOCK]


def test_a_short_write_is_continued(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = direct_writes(monkeypatch, short=BLOCK)
    written(file, DirectWriter(), [b"a" * MIB, b"b" * 5])
    assert lengths == [BLOCK]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_do_it_is_written_in_the_usual_way(
    file: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    direct_writes(monkeypatch, fails=number)
    writer = DirectWriter()
    written(file, writer, [DATA])
    written(file, writer, [DATA, DATA])


def test_an_error_of_the_disk_is_told(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    direct_writes(monkeypatch, fails=errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        DirectWriter().write(file, [DATA], hashlib.sha256())
    assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT
