"""QR codes on a terminal, as a camera reads them."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from clients import python_packages
from sockd.cli import files

LINK = "https://drop.example.org/t/acgem59837kkwy7i5ek8hhbj/"
HALVES = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
"""Upper and lower half of a character: 1 is the colour of the text."""

SCALE = 4  # pixels of a module

READER = """
import sys, zxingcpp
lines = [bytes.fromhex(line) for line in sys.stdin.read().split()]
image = memoryview(b"".join(lines)).cast("B", (len(lines), len(lines[0])))
print(*(found.text for found in zxingcpp.read_barcodes(image, try_invert=False, try_rotate=False)))
"""


def pixels(code: str) -> list[bytes]:
    """Return the picture of a code: its text is light, what is behind it dark."""
    rows: list[bytes] = []
    for line in click.unstyle(code).splitlines():
        for half in (0, 1):
            row = b"".join(bytes([255 * HALVES[char][half]]) * SCALE for char in line)
            rows += [row] * SCALE
    return rows


def test_the_code_of_a_link_is_read_by_a_scanner_that_reads_no_inverted_ones() -> None:
    packages = python_packages("zxingcpp")
    code = files._qr_code(LINK)
    assert code.startswith("\x1b[97;40m"), "the text is white, and black is behind it"
    shown = "\n".join(row.hex() for row in pixels(code))
    read = subprocess.run(
        [sys.executable, "-c", READER],
        input=shown,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.fspath(packages)},
    )
    assert (read.stdout.strip(), read.stderr) == (LINK, "")
