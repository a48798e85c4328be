"""Picture of the page for docs/files.md: `python tests/integration/picture.py docs/files.png`."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chromium import Chromium
from websites import website

RATE = 11_000_000  # bytes a second, so that two files are on their way

FILES: Mapping[str, int] = {
    "route.gpx": 88_213,
    "glacier.jpg": 4_812_331,
    "drone over the lagoon.mp4": 92_374_018,
    "raw/geyser.dng": 31_207_424,
    "notes.txt": 1_204,
}
"""Bytes of each file."""

DONE = "document.querySelectorAll('#list li.done').length === 3"
HALF = (
    "[...document.querySelectorAll('#list .stored')]"
    ".filter(bar => /^[1-7][0-9]([.]|%)/.test(bar.style.width)).length === 2"
)


def make(folder: Path) -> Path:
    """Make the files; return the folder that is dropped."""
    dropped = folder / "Iceland 2026"
    for name, size in FILES.items():
        (dropped / name).parent.mkdir(parents=True, exist_ok=True)
        (dropped / name).write_bytes(random.Random(name).randbytes(size))
    return dropped


def take(path: Path) -> None:
    """Take the picture while two of the files are on their way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dropped = make(folder)
        (folder / "site").mkdir()
        with website(folder / "site", folders="true") as site:
            browser = Chromium(folder / "profile")
            try:
                browser.open(site.url)
                browser.limit_upload(RATE)
                browser.drop("#drop", [dropped])
                browser.wait(f"{DONE} && {HALF}")
                path.write_bytes(browser.picture())
            finally:
                browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
