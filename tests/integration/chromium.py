"""Headless Chromium, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 60.0  # seconds for anything that is awaited


class Chromium:
    """Browser with one page.

    Args:
        profile: folder for its profile, which a later browser may use again.
    """

    def __init__(self, profile: Path) -> None:
        program = next(
            filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
        )
        if program is None:
            pytest.skip("no chromium is installed")
        (commands, self._commands), (self._answers, answers) = os.pipe(), os.pipe()
        # The browser reads commands from descriptor 3 and writes answers to 4.
        commands, answers = _moved(commands), _moved(answers)
        shell = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *options, f"--user-data-dir={profile}", "--window-size=900,1000"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._target = ""
        self.turn_page()

    def turn_page(self) -> None:
        """Go on with a new page, and close the one that was there, whatever it waits for."""
        old, self._session = self._target, None
        self._target = self._call("Target.createTarget", url="about:blank")["targetId"]
        if old:
            self._call("Target.closeTarget", targetId=old)
        attached = self._call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("DOM.enable")

    def open(self, url: str, *, ready: bool = True) -> None:
        """Open an address, and wait until its script has begun."""
        self._call("Page.navigate", url=url)
        if ready:
            self.wait("document.documentElement.dataset.ready === 'yes'")

    def before_pages(self, script: str) -> None:
        """Run a script before those of each address that is opened, until `turn_page`."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def evaluate(self, script: str) -> Any:
        """Return what an expression of the page gives."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until an expression of the page is true; return it."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                if value := self.evaluate(script):
                    return value
            except (AssertionError, KeyError):  # the page is just being replaced
                pass
            time.sleep(0.05)
        raise AssertionError(f"{script} did not come true: {self.evaluate('document.body.innerText')}")

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files, or a folder, in an input of the page."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in files])

    def drop(self, selector: str, files: Sequence[Path]) -> None:
        """Drop files or folders on a part of the page."""
        box = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def limit_upload(self, rate: int) -> None:
        """Limit what the page sends, in bytes a second; 0 for no limit."""
        self._call("Network.enable")
        limits = {"downloadThroughput": -1, "uploadThroughput": rate or -1}
        self._call("Network.emulateNetworkConditions", offline=False, latency=0, **limits)

    def dark(self) -> None:
        """Prefer dark colours."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def picture(self) -> bytes:
        """Return what is seen of the page, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        session, self._session = self._session, None
        if session is not None:
            try:
                self._call("Browser.close")
            except AssertionError:
                self._process.kill()
        self._process.wait(10)
        os.close(self._commands)
        os.close(self._answers)

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Page.javascriptDialogOpening":
                self._accept_dialog()

    def _accept_dialog(self) -> None:
        self._number += 1
        message = {
            "id": self._number,
            "method": "Page.handleJavaScriptDialog",
            "params": {"accept": True},
            "sessionId": self._session,
        }
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        self._number -= 1

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], _PATIENCE)
            if not ready:
                raise AssertionError(f"the browser does not answer within {_PATIENCE:g} seconds")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def _moved(file: int) -> int:
    """Move a descriptor out of the way of those that the browser expects."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(file)
    return moved
