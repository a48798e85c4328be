"""The page of the file receiver, in a browser."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import Chromium
from running import Daemon, Start

SLOW = 3_000_000  # bytes a second, so that there is a middle to break off in
SIZE = 12_000_000

DONE = "[...document.querySelectorAll('#list li')].filter(item => item.className === 'done').length"
STORED = "parseFloat(document.querySelector('#list .stored').style.width) > 5"
ALL_SEEN = "document.querySelector('#list li.{}') !== null"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    browser = Chromium(tmp_path / "profile")
    yield browser
    browser.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "holiday"
    (folder / "day two").mkdir(parents=True)
    (folder / "film").write_bytes(os.urandom(SIZE))
    (folder / "empty").write_bytes(b"")
    (folder / "day two" / "ä.jpg").write_bytes(os.urandom(70_000))
    return folder


def serve(start: Start, port: int = 0, **options: str) -> tuple[Daemon, int, str]:
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    daemon = start(
        '[service.files]\nplugin = "files"\n'
        f'listen = [{{ endpoint = "tcp:{port}:interface=127.0.0.1", protocol = "http" }}]\n'
        f'[service.files.options]\ndirectory = "received"\n{lines}'
    ).ready()
    port = daemon.port("files")[1]
    return daemon, port, f"http://127.0.0.1:{port}/"


def check(browser: Chromium, folder: Path, received: Path) -> None:
    """Compare what is stored, and the digests on the page, with what was sent."""
    for file in filter(Path.is_file, folder.rglob("*")):
        path = file.relative_to(folder.parent)
        assert (received / path).read_bytes() == file.read_bytes()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert digest in browser.evaluate("document.body.innerText")
    assert browser.evaluate("document.documentElement.dataset.error") is None


def test_a_folder_is_dropped_and_goes_on_when_the_daemon_was_killed(
    start: Start, browser: Chromium, folder: Path, tmp_path: Path
) -> None:
    daemon, port, url = serve(start, folders="true")
    browser.open(url)
    browser.limit_upload(SLOW)
    browser.drop("#drop", [folder])
    browser.wait(STORED)
    daemon.process.kill()
    daemon.process.wait()
    browser.wait(ALL_SEEN.format("broken"))
    assert "on the disk; the server does not answer" in browser.evaluate("document.body.innerText")
    browser.limit_upload(0)
    serve(start, port, folders="true")
    browser.wait(f"{DONE} === 3")
    check(browser, folder, tmp_path / "received")


def test_an_upload_goes_on_after_a_reload_of_the_page_when_its_file_is_chosen_again(
    start: Start, browser: Chromium, folder: Path, tmp_path: Path
) -> None:
    _, _, url = serve(start)
    browser.open(url)
    browser.limit_upload(SLOW)
    browser.choose("#files", [folder / "film"])
    browser.wait(STORED)
    browser.evaluate("document.querySelector('#list .small').click()")  # pause
    browser.wait(ALL_SEEN.format("paused"))
    browser.open("about:blank", ready=False)
    browser.limit_upload(0)
    browser.open(url)
    browser.wait(ALL_SEEN.format("missing"))
    assert "choose the file again" in browser.evaluate("document.body.innerText")
    assert browser.evaluate(STORED)
    browser.choose("#files", [folder / "film"])
    browser.wait(f"{DONE} === 1")
    assert (tmp_path / "received" / "film").read_bytes() == (folder / "film").read_bytes()
    browser.wait("document.body.innerText.includes('the same as your file')")
    assert browser.evaluate("Object.keys(localStorage).length") == 0


def test_a_folder_arrives_side_by_side_where_there_are_no_folders(
    start: Start, browser: Chromium, folder: Path, tmp_path: Path
) -> None:
    _, _, url = serve(start)
    browser.open(url)
    browser.choose("#folders", [folder])
    browser.wait(f"{DONE} === 3")
    assert (tmp_path / "received" / "ä.jpg").stat().st_size == 70_000


def test_a_refusal_is_shown_with_its_reason(start: Start, browser: Chromium, folder: Path) -> None:
    _, _, url = serve(start, max_size='"1MiB"')
    browser.open(url)
    browser.choose("#files", [folder / "film"])
    browser.wait(ALL_SEEN.format("failed"))
    assert "expected at most 1048576 bytes, found 12000000" in browser.evaluate("document.body.innerText")


def test_received_files_are_listed_where_that_is_permitted(
    start: Start, browser: Chromium, folder: Path
) -> None:
    _, _, url = serve(start, serve="true")
    browser.open(url)
    browser.choose("#files", [folder / "empty"])
    browser.wait("document.querySelector('#received a')?.textContent === 'empty'")


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script_of_its_own_text(
    start: Start, browser: Chromium
) -> None:
    _, _, url = serve(start)
    browser.open(url)
    loaded = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(url) for name in loaded)
    assert browser.evaluate(
        "new Promise(done => { addEventListener('securitypolicyviolation', () => done(true));"
        " const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        " document.body.append(script); setTimeout(() => done(Boolean(window.ran)), 5000); })"
    )
    assert browser.evaluate("window.ran") is None
