"""Pages in a browser that send files: that of the receiver, and one of another site with Uppy."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from chromium import Chromium
from clients import node_modules
from websites import Website, website

SLOW = 3_000_000  # bytes a second, so that there is a middle to break off in
SIZE = 12_000_000
MOST = 16 << 20

DONE = "[...document.querySelectorAll('#list li')].filter(item => item.className === 'done').length"
STORED = "parseFloat(document.querySelector('#list .stored').style.width) > 5"
ALL_SEEN = "document.querySelector('#list li.{}') !== null"

UPPY = """
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";
const say = (text) => { document.body.append(text, "\\n"); };
const asked = new URLSearchParams(location.search);
const tries = asked.has("once") ? { retryDelays: [] } : {};
const uppy = new Uppy().use(Tus, { endpoint: asked.get("to"), chunkSize: 1 << 20, ...tries });
uppy.on("upload-progress", (_, { bytesUploaded }) => { document.body.dataset.sent = bytesUploaded; });
document.querySelector("input").addEventListener("change", async ({ target }) => {
  uppy.addFile({ name: target.files[0].name, data: target.files[0] });
  const { failed } = await uppy.upload();
  say(failed.length ? `failed: ${failed[0].error}` : "sent");
});
document.documentElement.dataset.ready = "yes";
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def browser(running: Chromium) -> Iterator[Chromium]:
    """Give the browser that all tests share, without what an earlier page has left."""
    yield running
    running.evaluate("try { localStorage.clear() } catch { /* a page without an address has none */ }")
    running.turn_page()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """Return the daemon that most tests share."""
    with website(tmp_path_factory.mktemp("site"), serve="true", max_size=str(MOST)) as site:
        yield site


@dataclass
class Folder:
    """Folder of a sender, whose files have names that no other test sends."""

    path: Path

    @property
    def film(self) -> Path:
        return self.path / f"{self.path.name} film"

    @property
    def photo(self) -> Path:
        return self.path / "day two" / f"{self.path.name} ä.jpg"

    @property
    def empty(self) -> Path:
        return self.path / f"{self.path.name} empty"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / tmp_path.name)
    (folder.path / "day two").mkdir(parents=True)
    folder.film.write_bytes(os.urandom(SIZE))
    folder.empty.write_bytes(b"")
    folder.photo.write_bytes(os.urandom(70_000))
    return folder


def check(browser: Chromium, folder: Path, received: Path) -> None:
    """Compare what is stored, and the digests on the page, with what was sent."""
    for file in filter(Path.is_file, folder.rglob("*")):
        path = file.relative_to(folder.parent)
        assert (received / path).read_bytes() == file.read_bytes()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert digest in browser.evaluate("document.body.innerText")
    assert browser.evaluate("document.documentElement.dataset.error") is None


def test_a_folder_is_dropped_and_goes_on_when_the_daemon_was_killed(
    browser: Chromium, folder: Folder, tmp_path: Path
) -> None:
    with website(tmp_path, folders="true") as site:
        browser.open(site.url)
        browser.limit_upload(SLOW)
        browser.drop("#drop", [folder.path])
        browser.wait(STORED)
        site.kill()
        browser.wait(ALL_SEEN.format("broken"))
    assert "on the disk; the server does not answer" in browser.evaluate("document.body.innerText")
    browser.limit_upload(0)
    with website(tmp_path, site.port, folders="true"):
        browser.wait(f"{DONE} === 3")
        check(browser, folder.path, site.received)


def test_an_upload_goes_on_after_a_reload_of_the_page_when_its_file_is_chosen_again(
    site: Website, browser: Chromium, folder: Folder
) -> None:
    browser.open(site.url)
    browser.limit_upload(SLOW)
    browser.choose("#files", [folder.film])
    browser.wait(STORED)
    browser.evaluate("document.querySelector('#list .small').click()")  # pause
    browser.wait(ALL_SEEN.format("paused"))
    browser.open("about:blank", ready=False)
    browser.limit_upload(0)
    browser.open(site.url)
    browser.wait(ALL_SEEN.format("missing"))
    assert "choose the file again" in browser.evaluate("document.body.innerText")
    assert browser.evaluate(STORED)
    browser.choose("#files", [folder.film])
    browser.wait(f"{DONE} === 1")
    assert (site.received / folder.film.name).read_bytes() == folder.film.read_bytes()
    browser.wait("document.body.innerText.includes('the same as your file')")
    assert browser.evaluate("Object.keys(localStorage).length") == 0


def test_a_stored_file_has_its_receipt_on_the_page(site: Website, browser: Chromium, folder: Folder) -> None:
    browser.open(site.url)
    browser.choose("#files", [folder.photo])
    browser.wait(f"{DONE} === 1")
    receipt = browser.evaluate(
        "fetch(document.querySelector('#list .receipt').href).then(found => found.json())"
    )
    assert (receipt["name"], receipt["size"]) == (folder.photo.name, 70_000)


def test_a_folder_arrives_side_by_side_where_there_are_no_folders(
    site: Website, browser: Chromium, folder: Folder
) -> None:
    browser.open(site.url)
    browser.choose("#folders", [folder.path])
    browser.wait(f"{DONE} === 3")
    assert (site.received / folder.photo.name).stat().st_size == 70_000


def test_a_refusal_is_shown_with_its_reason(site: Website, browser: Chromium, folder: Folder) -> None:
    os.truncate(folder.film, MOST + 1)
    browser.open(site.url)
    browser.choose("#files", [folder.film])
    browser.wait(ALL_SEEN.format("failed"))
    assert f"expected at most {MOST} bytes, found {MOST + 1}" in browser.evaluate("document.body.innerText")


def test_received_files_are_listed_where_that_is_permitted(
    site: Website, browser: Chromium, folder: Folder
) -> None:
    browser.open(site.url)
    browser.choose("#files", [folder.empty])
    names = "[...document.querySelectorAll('#received a')].map(link => link.textContent)"
    browser.wait(f"{names}.includes('{folder.empty.name}')")


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script_of_its_own_text(
    site: Website, browser: Chromium
) -> None:
    browser.open(site.url)
    loaded = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(site.url) for name in loaded)
    assert browser.evaluate(
        "new Promise(done => { addEventListener('securitypolicyviolation', () => done(true));"
        " const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        " document.body.append(script); setTimeout(() => done(Boolean(window.ran)), 5000); })"
    )
    assert browser.evaluate("window.ran") is None


class Silent(SimpleHTTPRequestHandler):
    """Server of a folder that logs nothing."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """Return the address of a page with Uppy, which sends to where its query says."""
    _, modules = node_modules("@uppy/core", "@uppy/tus", "esbuild")
    pages = tmp_path / "other site"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html><input type=file><script src=uppy.js defer></script>")
    (tmp_path / "uppy.js").write_text(UPPY)
    bundle: list[str | Path] = [
        modules / ".bin/esbuild",
        "uppy.js",
        "--bundle",
        f"--outfile={pages / 'uppy.js'}",
    ]
    env = os.environ | {"NODE_PATH": str(modules)}
    subprocess.run(bundle, cwd=tmp_path, env=env, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(pages)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_uppy_sends_from_a_permitted_site_and_goes_on_when_the_daemon_was_killed(
    browser: Chromium, folder: Folder, other_site: str, tmp_path: Path
) -> None:
    with website(tmp_path, origins=f'["{other_site}"]') as site:
        browser.open(f"{other_site}/?to={site.url}")
        browser.limit_upload(SLOW)
        browser.choose("input", [folder.film])
        browser.wait("Number(document.body.dataset.sent) > 3000000")
        site.kill()
    browser.limit_upload(0)
    with website(tmp_path, site.port, origins=f'["{other_site}"]'):
        browser.wait("document.body.innerText.includes('sent')")
    assert (site.received / folder.film.name).read_bytes() == folder.film.read_bytes()


def test_uppy_cannot_send_from_another_site(
    site: Website, browser: Chromium, folder: Folder, other_site: str
) -> None:
    browser.open(f"{other_site}/?once&to={site.url}")
    browser.choose("input", [folder.empty])
    browser.wait("document.body.innerText.includes('failed: ')")
    assert not (site.received / folder.empty.name).exists()
