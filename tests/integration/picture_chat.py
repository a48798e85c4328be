"""Takes the picture of the chat's page for docs/chat.md: picture_chat.py FILE."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory

from chromium import Chromium
from test_chat_web import Site, write

TALK = [
    ("bob", "said", "morning! is the new build on the staging machine?"),
    ("cleo", "said", "since 8:40. The first uploads look fine"),
    ("cleo", "said", "https://example.org/builds/1834 has the log"),
    ("bob", "action", "reads"),
    ("ci", "notice", "build 1835 is green: 2228 tests in 9.7 s"),
    ("cleo", "said", "ann: can you look at the disk of db2 when you are here?"),
]


def main() -> None:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        site = Site(Path(folder))
        browser = Chromium(Path(folder) / "browser")
        people = {name: stack.enter_context(site.socket(name, "ops")) for name in ("bob", "cleo", "ci")}
        stack.enter_context(site.socket("dana", "ops", "lobby"))
        browser.open(site.url)
        browser.evaluate("localStorage.setItem('chat.rooms', '[\"lobby\",\"ops\"]')")
        browser.evaluate("localStorage.setItem('chat.current', '\"ops\"')")
        browser.open("about:blank", ready=False)
        browser.open(site.url)
        browser.evaluate(
            "document.querySelector('#name').value = 'ann';"
            " document.querySelector('#ask-form').requestSubmit()"
        )
        browser.wait("document.querySelector('#place').textContent === 'ops'")
        for number, (name, kind, text) in enumerate(TALK, 1):
            people[name].send(dumps({"type": "say", "room": "ops", "text": text, "kind": kind}))
            browser.wait(f"document.querySelector('#log [data-number=\"{number}\"]') !== null")
        write(browser, "on it, two minutes")
        browser.wait("document.querySelector('#log .own') && !document.querySelector('#log .pending')")
        site.post("lobby", "coffee is ready", "dana2")
        people["bob"].send(dumps({"type": "tell", "to": "ann", "text": "thanks!"}))
        browser.wait("document.querySelectorAll('#side .count').length === 2")
        browser.evaluate("document.querySelector('#open-people').click()")
        Path(sys.argv[1]).write_bytes(browser.picture())
        browser.close()
        stack.close()
        site.daemon.stop()


if __name__ == "__main__":
    main()
