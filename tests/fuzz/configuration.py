"""Fuzzes `sockd.config`: any text loads, or gives faults that each stand at a place of the text."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import fuzzing
from pydantic import BaseModel

from sockd import discovery
from sockd.config import load, render
from sockd.errors import ConfigError, Fault, PluginError

SAMPLES = Path(__file__).parents[2] / "config"
TABLES = [
    table.encode()
    for name in ("sockd.toml", "reference.toml")
    for table in SAMPLES.joinpath(name).read_text().split("\n\n")
]
"""The tables of the sample files, of each of which some make an input."""

OTHER = "[service.echo]\nplugin = 'echo'\nlisten = ['tcp:7007', 'tcp:x']\n"
"""A file that can be included, with a fault of its own."""

WORDS = [
    *"""\
" ' [ ] [[ ]] { } = . , # \\ \\: \\u00e9 \\U0001F600 é 😀 ${PORT} ${NONE} $${ ${
true 0x7fffffffffffffffff 1e999 nan -1 1979-05-27 07:32:00 '10m' '64KiB' 'udp:1' 'unix:a' 'other.toml'
daemon service listen limits options plugin include service.echo.options.""".encode().split(),
    *(b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xc3", b"\x1b[31m", b"\xe2\x80\xae", b"\xef\xbb\xbf"),
    *(b"{ file = 'secret' }", b"[service.echo]\n", b"\na = ", b'\n"\\u001b[31m" = 1\n'),
    *(b"'" * 3, b'"""\n1\n"""', b"[\n1,\n2]\n", b"\ndaemon = [\n1,\n2]\n"),
    *(b"[" * 2000, b"9" * 5000, b"a." * 400),
]
ENVIRON = {"PORT": "7007", "TEXT": "one\ntwo", "BYTES": "\udcff"}
PLUGINS = {name: discovery.find(name) for name in ("banner", "chat", "echo", "factory")}


def make(random: Random) -> bytes:
    text = b"\n\n".join(random.sample(TABLES, random.randint(1, 4)))
    return fuzzing.mutate(random, text, WORDS)


def find_plugin(name: str) -> type[BaseModel]:
    """Only what is known: a name would otherwise import any module."""
    try:
        return PLUGINS[name]
    except KeyError:
        raise PluginError("no such plugin") from None


def check_fault(fault: Fault, lines: list[str]) -> None:
    """A fault of a file as a whole has no line; any other marks characters of one, or the end of it."""
    assert fault.message
    for character in render(fault).replace("\n", ""):
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp"), f"{character!r} in what is shown"
    if fault.line:
        assert 1 <= fault.line <= len(lines), f"line {fault.line} of {len(lines)}"
        line = lines[fault.line - 1]
        shown = line[fault.source_column - 1 :][: len(fault.source)]
        assert fault.source == shown, f"{fault.source!r} is not of line {fault.line}"
        assert fault.column >= 1
        assert fault.length >= 1
        assert fault.column + fault.length - 1 <= len(lines[fault.line - 1]) + 1, (
            f"{fault} ends behind its line"
        )


def check_in(folder: Path, data: bytes) -> None:
    file = folder / "fuzzed.toml"
    file.write_bytes(data)
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    lines = {str(file): text.split("\n"), str(folder / "other.toml"): OTHER.split("\n")}
    try:
        load(file, find_plugin, ENVIRON)
        return
    except ConfigError as error:
        faults = error.faults
    assert faults
    for fault in faults:
        check_fault(fault, lines[fault.file])


def main() -> int:
    with TemporaryDirectory() as folder:
        Path(folder, "other.toml").write_text(OTHER)
        Path(folder, "secret").write_text("7007\n")
        return fuzzing.run(make, lambda data: check_in(Path(folder), data))


if __name__ == "__main__":
    sys.exit(main())
