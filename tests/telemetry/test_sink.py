from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sockd.telemetry.sink import Sink, open_path

PATIENCE = 60.0
"""Seconds until a test gives up."""

Make = Callable[..., Sink]


@pytest.fixture
def make() -> Iterator[Make]:
    """Create sinks, which are closed after the test."""
    sinks: list[Sink] = []

    def make_one(opener: Callable[[], int], **bounds: int) -> Sink:
        sinks.append(Sink(opener, **bounds))
        return sinks[-1]

    yield make_one
    for sink in sinks:
        sink.close(timeout=0)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Create the smallest pipe, which one page fills."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def read_until(descriptor: int, end: bytes) -> bytes:
    """Return the bytes read up to these."""
    data = b""
    while not data.endswith(end):
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ready, f"only {data[-200:]!r} came"
        more = os.read(descriptor, 65536)
        assert more, f"only {data[-200:]!r} came"
        data += more
    return data


def run(script: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script in a process, which ends by itself."""
    command = [sys.executable, "-c", script, *(os.fspath(arg) for arg in args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_lines_arrive_in_order_and_soon(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = make(partial(os.dup, writer))
    begun = time.monotonic()
    sink.write("one\n")
    assert read_until(reader, b"one\n") == b"one\n"
    assert time.monotonic() - begun < PATIENCE / 2
    for number in range(5000):
        sink.write(f"{number}\n")
    assert read_until(reader, b"\n4999\n") == b"".join(b"%d\n" % number for number in range(5000))


def test_lines_of_many_threads_stay_whole(make: Make, tmp_path: Path) -> None:
    sink = make(partial(open_path, tmp_path / "log"))

    def write(word: str) -> None:
        for number in range(1000):
            sink.write(f"{word} {number}\n")

    threads = [threading.Thread(target=write, args=(word,)) for word in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close(PATIENCE)
    lines = (tmp_path / "log").read_text().splitlines()
    for word in ("a", "b", "c", "d"):
        assert [line for line in lines if line[0] == word] == [f"{word} {n}" for n in range(1000)]
    assert len(lines) == 4000


def test_a_stopped_reader_delays_no_writer(make: Make, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with open(tmp_path / "read", "wb") as read, subprocess.Popen(["cat", fifo], stdout=read) as cat:
        first = os.open(fifo, os.O_WRONLY)  # waits until cat has opened it
        cat.send_signal(signal.SIGSTOP)
        sink = make(partial(open_path, fifo))
        begun = time.monotonic()
        for number in range(50_000):
            sink.write(f"{number:099}\n")
        assert time.monotonic() - begun < PATIENCE / 2
        assert 0 < sink.dropped < 50_000
        cat.send_signal(signal.SIGCONT)
        os.close(first)
        sink.close(PATIENCE)
    text = (tmp_path / "read").read_text().splitlines()
    told = [int(line.partition("count=")[2]) for line in text if line.startswith("log lines dropped")]
    lines = [int(line) for line in text if line.isdigit()]
    assert sum(told) == sink.dropped
    assert lines == sorted(set(lines))
    assert len(lines) == 50_000 - sink.dropped


def test_the_announcement_stands_where_the_lines_are_missing(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = make(partial(os.dup, writer), max_lines=10)
    sink.write("-" * select.PIPE_BUF * 3 + "\n")  # the thread is busy with it
    os.read(reader, 1)
    for number in range(15):
        sink.write(f"{number}\n")
    assert sink.dropped == 5
    read_until(reader, b"9\nlog lines dropped count=5\n")
    sink.write("later\n")
    assert read_until(reader, b"later\n") == b"later\n"


def test_waiting_bytes_are_bounded_too(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = make(partial(os.dup, writer), max_bytes=1000)
    sink.write("x" * 1000 + "\n")
    assert sink.dropped == 1
    assert read_until(reader, b"\n") == b"log lines dropped count=1\n"


def test_lines_that_found_a_full_disk_are_written_when_there_is_room(make: Make, tmp_path: Path) -> None:
    paths = [Path("/dev/full"), tmp_path / "log"]
    sink = make(lambda: os.open(paths.pop(0), os.O_WRONLY | os.O_CREAT))
    for number in range(100):
        sink.write(f"{number}\n")
    sink.reopen()
    sink.close(PATIENCE)
    assert (tmp_path / "log").read_text() == "".join(f"{number}\n" for number in range(100))
    assert sink.dropped == 0


def test_standard_error_reports_once_that_the_log_cannot_be_written() -> None:
    script = """if True:
        import os, sys
        from sockd.telemetry.sink import Sink
        sink = Sink(lambda: os.open("/dev/full", os.O_WRONLY), max_lines=10)
        for number in range(1000):
            sink.write("x")
        sys.exit(3)
    """
    ended = run(script)
    assert ended.returncode == 3
    assert ended.stderr.startswith("sockd: the log cannot be written (")
    assert ended.stderr.count("\n") == 1


def test_no_line_is_torn_by_a_limit_that_is_lifted(tmp_path: Path) -> None:
    """EFBIG stands for every error in the middle of a line."""
    script = """if True:
        import resource, sys
        from functools import partial
        from pathlib import Path
        from sockd.telemetry.sink import Sink, open_path
        path = Path(sys.argv[1])
        sink = Sink(partial(open_path, path))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4090, resource.RLIM_INFINITY))
        for number in range(1000):
            sink.write(f"{number:099}\\n")
        while not sink._complained:  # it has met the limit, and not only come up to it
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    """
    ended = run(script, tmp_path / "log")
    assert ended.returncode == 0
    assert "file too large" in ended.stderr
    assert (tmp_path / "log").read_text() == "".join(f"{number:099}\n" for number in range(1000))


def test_a_torn_line_is_whole_in_the_new_file(tmp_path: Path) -> None:
    script = """if True:
        import resource, sys
        from functools import partial
        from pathlib import Path
        from sockd.telemetry.sink import Sink, open_path
        path = Path(sys.argv[1])
        sink = Sink(partial(open_path, path))
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
        for number in range(2):
            sink.write(f"{number:099}\\n")
        while path.stat().st_size < 150:
            pass
        path.rename(sys.argv[2])
        sink.reopen()
    """
    assert run(script, tmp_path / "log", tmp_path / "old").returncode == 0
    assert (tmp_path / "old").read_text() == f"{0:099}\n" + "0" * 50
    assert (tmp_path / "log").read_text() == f"{1:099}\n"


def test_a_closed_terminal_does_no_harm(make: Make) -> None:
    terminal, behind = pty.openpty()
    sink = make(partial(os.dup, behind))
    os.close(behind)
    sink.write("one\n")
    read_until(terminal, b"one\r\n")
    os.close(terminal)
    for _ in range(20_000):
        sink.write("two\n")
    sink.close(timeout=0.1)
    assert 0 < sink.dropped <= 20_000


def test_a_descriptor_that_was_made_nonblocking_is_written_too(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    sink = make(partial(os.dup, writer))
    begun = time.monotonic()
    for number in range(3000):
        sink.write(f"{number:099}\n")
    assert read_until(reader, b"%099d\n" % 2999).count(b"\n") == 3000
    assert time.monotonic() - begun < PATIENCE / 2


def test_processes_that_share_a_pipe_write_whole_lines() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)  # always full, so that writers take turns
    script = """if True:
        import os, sys
        from sockd.telemetry.sink import Sink
        sink = Sink(lambda: os.dup(1))
        for number in range(2000):
            sink.write(sys.argv[1] * 99 + "\\n")
        os.write(2, b".")
        sink.close(20)
    """
    ready, told = os.pipe()
    both = [
        subprocess.Popen([sys.executable, "-c", script, word], stdout=writer, stderr=told) for word in "ab"
    ]
    os.close(writer)
    os.close(told)
    read_until(ready, b"..")
    os.close(ready)
    with open(reader, "rb") as stream:
        lines = stream.read().splitlines()
    for process in both:
        assert process.wait(PATIENCE) == 0
    assert sorted(lines) == [b"a" * 99] * 2000 + [b"b" * 99] * 2000


def test_lines_before_and_after_a_fork_are_written_once(tmp_path: Path) -> None:
    """twistd forks twice after the log has been opened."""
    script = """if True:
        import os, sys
        from functools import partial
        from pathlib import Path
        from sockd.telemetry.sink import Sink, open_path
        sink = Sink(partial(open_path, Path(sys.argv[1])))
        for number in range(100):
            sink.write(f"before {number}\\n")
        child = os.fork()
        for number in range(100):
            sink.write(f"after {child > 0} {number}\\n")
        if child:
            os.waitpid(child, 0)
        sys.exit(0)
    """
    assert run(script, tmp_path / "log").returncode == 0
    expected = [f"{who} {number}" for who in ("before", "after True", "after False") for number in range(100)]
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(expected)


@pytest.mark.parametrize("end", ["sys.exit(1)", "raise ValueError", "pass"])
def test_the_last_lines_of_a_process_are_not_lost(end: str) -> None:
    script = f"""if True:
        import os, sys
        from sockd.telemetry.sink import Sink
        sink = Sink(lambda: os.dup(1))
        sink.write("starting\\n")
        sink.flush({PATIENCE})  # from now on the thread gathers
        sink.write("cannot listen\\n")
        {end}
    """
    assert run(script).stdout == "starting\ncannot listen\n"


def test_close_waits_no_longer_than_its_timeout(make: Make, pipe: tuple[int, int]) -> None:
    _, writer = pipe
    sink = make(partial(os.dup, writer))
    sink.write("x" * 100_000)
    begun = time.monotonic()
    sink.close(timeout=0.2)
    assert 0.2 <= time.monotonic() - begun < PATIENCE / 2
    sink.write("too late\n")
    assert sink.dropped == 1


def test_flushed_lines_are_written(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = make(partial(os.dup, writer))
    begun = time.monotonic()
    sink.write("one\n")
    sink.flush(PATIENCE)
    assert select.select([reader], [], [], 0)[0]
    assert time.monotonic() - begun < PATIENCE / 2


def test_flush_waits_for_a_stuck_sink_only_once(make: Make, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = make(partial(os.dup, writer))
    sink.write("x" * 100_000 + "\n")
    sink.flush(0.1)
    begun = time.monotonic()
    for _ in range(1000):
        sink.flush(0.1)
    assert time.monotonic() - begun < PATIENCE / 2
    read_until(reader, b"\n")
    sink.write("one\n")
    sink.flush(PATIENCE)
    assert select.select([reader], [], [], PATIENCE)[0]


def test_a_renamed_file_gets_no_more_lines_and_the_new_file_has_its_mode(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    umask = os.umask(0o077)
    try:
        sink = make(partial(open_path, path))
        sink.write("one\n")
        while not path.stat().st_size:
            pass
        path.rename(tmp_path / "old")
        sink.reopen()
        while not path.exists():
            pass
        sink.write("two\n")
        sink.close(PATIENCE)
    finally:
        os.umask(umask)
    assert (tmp_path / "old").read_text() == "one\n"
    assert path.read_text() == "two\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_existing_file_keeps_its_mode_and_what_is_in_it(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch(0o600)
    path.write_text("one\n")
    sink = make(partial(open_path, path))
    sink.write("two\n")
    sink.close(PATIENCE)
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_opened_again_is_written_on(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = make(partial(open_path, folder / "log"))
    folder.rename(tmp_path / "moved")
    sink.reopen()
    sink.write("two\n")
    sink.close(PATIENCE)
    text = (tmp_path / "moved" / "log").read_text()
    assert "log not reopened reason=no such file or directory\n" in text
    assert "two\n" in text


def test_a_symbolic_link_is_refused_as_a_log_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a symbolic link"):
        open_path(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_fifo_without_a_reader_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device"):
        open_path(tmp_path / "fifo")


def test_a_line_may_be_written_while_another_is_written(make: Make, tmp_path: Path) -> None:
    """As it happens when garbage collection finds a failed Deferred."""
    sink = make(partial(open_path, tmp_path / "log"))

    class Interrupted(str):
        __slots__ = ()

        def __len__(self) -> int:
            sink.write("inner\n")
            return super().__len__()

    thread = threading.Thread(target=sink.write, args=(Interrupted("outer\n"),), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    sink.close(PATIENCE)
    assert set((tmp_path / "log").read_text().split()) == {"inner", "outer"}


def test_characters_without_utf8_are_escaped(make: Make, tmp_path: Path) -> None:
    sink = make(partial(open_path, tmp_path / "log"))
    sink.write(json.dumps("\udc80", ensure_ascii=False) + "\n")
    sink.close(PATIENCE)
    assert (tmp_path / "log").read_text() == '"\\udc80"\n'
