"""The chat's page in a browser, and other clients of the web in the same rooms."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from chromium import Chromium
from running import BIN, Daemon

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")

NAMES = "[...document.querySelectorAll('#log .message .name')].map(each => each.textContent)"
TEXTS = "[...document.querySelectorAll('#log .message > .text')].map(each => each.textContent)"
NUMBERS = "[...document.querySelectorAll('#log .message')].map(each => Number(each.dataset.number))"
OFFLINE = "document.querySelector('#state').textContent.includes('trying again')"
ONLINE = "document.querySelector('#state').textContent === ''"


class Site:
    """Daemon with a chat over the web."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        (folder / "sockd.toml").write_text(
            '[service.chat]\nplugin = "chat"\n'
            f'listen = [{{ endpoint = "tcp:{port}:interface=127.0.0.1", protocol = "web" }}]\n'
            "[service.chat.options]\nrate = 1000\nburst = 1000\n"
        )
        self.daemon = Daemon(BIN / "sockd", "run", cwd=folder).ready()
        self.port = self.daemon.port("chat")[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def kill(self) -> None:
        self.daemon.process.kill()
        self.daemon.stop()

    def post(self, room: str, text: str, name: str) -> dict[str, Any]:
        """Say something by curl."""
        command = ["curl", "-s", "-d", text, f"{self.url}rooms/{room}?name={name}"]
        answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return answer

    @contextmanager
    def socket(self, name: str, *rooms: str) -> Iterator[ClientConnection]:
        """Be in rooms over a WebSocket."""
        with connect(f"ws://127.0.0.1:{self.port}/socket", max_queue=None) as socket:
            hello = {"type": "hello", "name": name, "rooms": dict.fromkeys(rooms)}
            socket.send(json.dumps(hello))
            read(socket, "welcome")
            for _ in rooms:
                read(socket, "entered")
            yield socket


def read(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next event of a kind."""
    while True:
        event: dict[str, Any] = json.loads(socket.recv(timeout=60))
        if event["type"] == kind:
            return event


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.daemon.stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def browser(running: Chromium) -> Iterator[Chromium]:
    """Give the browser that all tests share, without what an earlier page has left."""
    yield running
    running.evaluate("try { localStorage.clear(); sessionStorage.clear() } catch { /* no address */ }")
    running.turn_page()


def enter(browser: Chromium, site: Site, name: str, room: str) -> None:
    """Come into the chat by its page, in one room."""
    browser.open(site.url)
    browser.evaluate(f"localStorage.setItem('chat.rooms', '[\"{room}\"]')")
    browser.open("about:blank", ready=False)
    browser.open(site.url)
    browser.evaluate(
        f"document.querySelector('#name').value = '{name}';"
        " document.querySelector('#ask-form').requestSubmit()"
    )
    browser.wait(f"document.querySelector('#place').textContent === '{room}'")


def write(browser: Chromium, text: str) -> None:
    """Write a line on the page."""
    browser.evaluate(
        f"document.querySelector('#text').value = {json.dumps(text)};"
        " document.querySelector('#write').requestSubmit()"
    )


def test_page_socket_and_curl_see_the_same_messages_with_the_same_numbers(
    site: Site, browser: Chromium
) -> None:
    with site.socket("robot", "one") as socket:
        enter(browser, site, "ann", "one")
        write(browser, "hello from the page")
        said = read(socket, "said")
        assert (said["name"], said["number"], said["text"]) == ("ann", 1, "hello from the page")
        assert site.post("one", "and from curl", "script")["number"] == 2
        socket.send(json.dumps({"type": "say", "room": "one", "text": "and over a socket", "ref": 1}))
        assert read(socket, "said")["name"] == "script"
        assert read(socket, "said")["number"] == 3
        browser.wait(f"{NUMBERS}.join() === '1,2,3'")
        assert browser.evaluate(NAMES) == ["ann", "script", "robot"]
        command = ["curl", "-s", f"{site.url}rooms/one?since=0&limit=9"]
        lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
        assert [line.split(" ", 3)[0::2] for line in lines] == [["1", "ann"], ["2", "script"], ["3", "robot"]]


def test_what_is_written_without_a_server_is_sent_once_it_is_back(browser: Chromium, tmp_path: Path) -> None:
    site = Site(tmp_path)
    enter(browser, site, "ann", "lobby")
    write(browser, "before")
    browser.wait(f"{TEXTS}.join() === 'before' && !document.querySelector('#log .pending')")
    site.kill()
    browser.wait(OFFLINE)
    write(browser, "meanwhile")
    assert browser.evaluate("document.querySelector('#log .pending .text').textContent") == "meanwhile"
    site = Site(tmp_path, site.port)
    try:
        browser.wait(f"{TEXTS}.includes('meanwhile') && !document.querySelector('#log .pending')")
        browser.wait(ONLINE)
        write(browser, "after")
        browser.wait(f"{TEXTS}.at(-1) === 'after'")
        assert browser.evaluate(f"{TEXTS}.filter(text => text === 'meanwhile').length") == 1
    finally:
        site.daemon.stop()


def test_what_was_said_while_the_page_had_no_line_is_there_afterwards_without_gap_or_double(
    site: Site, browser: Chromium
) -> None:
    with site.socket("robot", "gap"):
        enter(browser, site, "ann", "gap")
        site.post("gap", "first", "script")
        browser.wait(f"{TEXTS}.length === 1")
        browser.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        for number in range(60):
            site.post("gap", f"missed {number}", "script")
        browser.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        browser.wait(f"{NUMBERS}.length === 61")
        shown = browser.evaluate(NUMBERS)
        assert shown == list(range(1, 62))


def test_other_rooms_count_what_is_unread_and_a_draft_waits_for_its_room(
    site: Site, browser: Chromium
) -> None:
    enter(browser, site, "ann", "two")
    browser.evaluate(
        "document.querySelector('#join-name').value = 'three';"
        " document.querySelector('#join').requestSubmit()"
    )
    browser.wait("document.querySelector('#place').textContent === 'three'")
    browser.evaluate(
        "document.querySelector('#text').value = 'a draft';"
        " document.querySelector('#text').dispatchEvent(new Event('input'))"
    )
    browser.evaluate("document.querySelector('#rooms button').click()")
    browser.wait("document.querySelector('#place').textContent === 'two'")
    assert browser.evaluate("document.querySelector('#text').value") == ""
    site.post("three", "ann: look", "script")
    browser.wait("document.querySelector('#rooms .count.mention')?.textContent === '1 unread'")
    assert browser.evaluate("document.title") == "(1) two"
    browser.evaluate("[...document.querySelectorAll('#rooms button')][1].click()")
    browser.wait("document.querySelector('#text').value === 'a draft'")
    assert browser.evaluate("document.querySelector('#rooms .count')") is None


def test_private_messages_are_a_place_of_their_own(site: Site, browser: Chromium) -> None:
    with site.socket("robot", "four") as socket:
        enter(browser, site, "ann", "four")
        write(browser, "/msg robot psst")
        assert read(socket, "told")["text"] == "psst"
        socket.send(json.dumps({"type": "tell", "to": "ann", "text": "yes?"}))
        browser.wait(f"{TEXTS}.join() === 'psst,yes?'")
        assert browser.evaluate("document.querySelector('#place').textContent") == "robot"


def test_a_taken_name_is_told_and_another_one_is_asked_for(site: Site, browser: Chromium) -> None:
    with site.socket("robot", "five"):
        browser.open(site.url)
        browser.evaluate(
            "document.querySelector('#name').value = 'robot';"
            " document.querySelector('#ask-form').requestSubmit()"
        )
        browser.wait("document.querySelector('#ask-reason').textContent.includes('taken')")
        assert browser.evaluate("document.querySelector('#ask').open")


def test_the_page_goes_on_by_events_where_no_websocket_goes_through(site: Site, browser: Chromium) -> None:
    browser.before_pages(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose?.(), 0) } close() {} }"
    )
    enter(browser, site, "ann", "six")
    write(browser, "by events")
    browser.wait(f"{TEXTS}.join() === 'by events' && !document.querySelector('#log .pending')")


def test_the_page_loads_nothing_from_elsewhere_and_has_names_for_all_controls(
    site: Site, browser: Chromium
) -> None:
    enter(browser, site, "ann", "seven")
    loaded = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(site.url) for name in loaded)
    unnamed = (
        "[...document.querySelectorAll('button, input, textarea')].filter(each => !each.textContent.trim()"
        " && !each.labels?.length && !each.getAttribute('aria-label')).map(each => each.outerHTML)"
    )
    assert browser.evaluate(unnamed) == []
    assert browser.evaluate("document.activeElement.id") == "text"


def test_a_page_of_another_site_cannot_open_a_socket(site: Site, browser: Chromium) -> None:
    browser.open("data:text/html,<script>document.documentElement.dataset.ready = 'yes'</script>")
    opened = browser.evaluate(
        "new Promise(done => { const socket = new WebSocket("
        f"'ws://127.0.0.1:{site.port}/socket'); socket.onopen = () => done(true);"
        " socket.onerror = () => done(false) })"
    )
    assert opened is False


def test_scrolling_up_fetches_earlier_messages_and_the_search_finds_them(
    site: Site, browser: Chromium
) -> None:
    with site.socket("robot", "eight"):
        for first in range(0, 240, 20):
            lines = [f"line {number} nr{number:03}" for number in range(first, first + 20)]
            site.post("eight", "\n".join(lines), "app")
        enter(browser, site, "ann", "eight")
        browser.wait(f"{NUMBERS}.at(-1) === 240")
        below = "document.querySelector('#write').getBoundingClientRect().bottom <= innerHeight"
        assert browser.evaluate(below), "the end of the page is out of sight"
        last = "[...document.querySelectorAll('#log .message')].at(-1).getBoundingClientRect().bottom"
        assert browser.evaluate(f"{last} <= innerHeight"), "the last message is out of sight"
        scroll = (
            "(log => { log.scrollTop = 0; log.dispatchEvent(new Event('scroll')) })"
            "(document.querySelector('#log'))"
        )
        browser.wait(f"{scroll} || {NUMBERS}[0] === 1")
        assert browser.evaluate(NUMBERS) == list(range(1, 241))
        browser.evaluate(
            "document.querySelector('#words').value = 'nr017';"
            " document.querySelector('#search').requestSubmit()"
        )
        browser.wait(f"{NUMBERS}.join() === '18'")
        browser.evaluate("document.querySelector('.found-head button').click()")
        browser.wait(f"{NUMBERS}.length === 240")


def test_a_copy_of_the_page_goes_on_and_the_first_one_leaves_it_in_peace(
    site: Site, browser: Chromium
) -> None:
    enter(browser, site, "ann", "nine")
    key = browser.evaluate("sessionStorage.getItem('chat.key')")
    with connect(f"ws://127.0.0.1:{site.port}/socket") as socket:
        socket.send(json.dumps({"type": "hello", "name": "ann", "key": key, "rooms": {"nine": None}}))
        assert read(socket, "entered")["others"] == []
        browser.wait("document.querySelector('#state').textContent.startsWith('Another page goes on')")
        socket.send(json.dumps({"type": "who", "room": "nine", "ref": 1}))
        assert [person["name"] for person in read(socket, "present")["people"]] == ["ann"]
