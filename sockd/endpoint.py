r"""Endpoint description strings as values. Nothing is opened here.

The grammar is that of Twisted's endpoint strings, with datagrams in the same form:

    tcp:PORT[:interface=ADDRESS][:backlog=N]     tcp6: likewise
    udp:PORT[:interface=ADDRESS]                 udp6: likewise
    unix:PATH[:mode=OCTAL][:backlog=N]           stream
    unixgram:PATH[:mode=OCTAL]                   datagram
    systemd:NAME[:type=datagram][:index=N]       a socket that systemd has opened, a stream without type=

A colon within a value is written `\:`, or the value stands in brackets: `interface=[::1]`. A `=` in a
path without `path=` before it is written `\=`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from sockd.errors import ValueFault

Transport = Literal["stream", "datagram"]
"""Connections (TCP, TLS, UNIX stream sockets), or datagrams (UDP, UNIX datagram sockets)."""

DEFAULT_UNIX_MODE = 0o600
"""Permissions of a socket for the daemon's own user alone."""

MAX_UNIX_PATH = 107
"""Bytes that fit into `sun_path` beside its terminating NUL (Linux, unix(7))."""

MAX_BACKLOG = 65535

MAX_SOCKET_NAME = 255
"""Characters of FileDescriptorName= (systemd.socket(5)); it is ASCII without colons."""

MAX_INHERITED = 65535
"""Sockets of one name: more than systemd can pass."""


@dataclass(frozen=True, slots=True)
class InetEndpoint:
    """TCP or UDP port. `interface` is an address, never a name; an empty one means every address."""

    scheme: Literal["tcp", "tcp6", "udp", "udp6"]
    port: int
    interface: str = ""
    backlog: int | None = None

    @property
    def stream(self) -> bool:
        """Tell whether the endpoint takes connections rather than datagrams."""
        return self.scheme.startswith("tcp")

    @property
    def transport(self) -> Transport:
        """Kind of messages that the endpoint takes."""
        return "stream" if self.stream else "datagram"

    @property
    def ipv6(self) -> bool:
        """Tell whether the port is one of IPv6."""
        return self.scheme.endswith("6") or ":" in self.interface

    def __str__(self) -> str:
        interface = f"[{self.interface}]" if ":" in self.interface else self.interface
        return f"{self.scheme}:{self.port}" + (f":interface={interface}" if interface else "")


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """UNIX socket in the file system, of the given permissions."""

    scheme: Literal["unix", "unixgram"]
    path: Path
    mode: int = DEFAULT_UNIX_MODE
    backlog: int | None = None

    @property
    def stream(self) -> bool:
        """Tell whether the endpoint takes connections rather than datagrams."""
        return self.scheme == "unix"

    @property
    def transport(self) -> Transport:
        """Kind of messages that the endpoint takes."""
        return "stream" if self.stream else "datagram"

    def __str__(self) -> str:
        path = _ESCAPED.sub(r"\\\g<0>", str(self.path))
        return f"{self.scheme}:{path}"


@dataclass(frozen=True, slots=True)
class SystemdEndpoint:
    """Socket that systemd has opened, by the FileDescriptorName= of its socket unit.

    Attributes:
        name: the socket's.
        kind: what it takes; a name may stand for one of each kind.
        index: which of several sockets of that name and kind, in the order of the socket unit.
    """

    name: str
    kind: Transport = "stream"
    index: int | None = None

    @property
    def stream(self) -> bool:
        """Tell whether the endpoint takes connections rather than datagrams."""
        return self.kind == "stream"

    @property
    def transport(self) -> Transport:
        """Kind of messages that the endpoint takes."""
        return self.kind

    @property
    def backlog(self) -> None:
        """None, as the socket unit sets the backlog (Backlog=)."""

    def __str__(self) -> str:
        name = _ESCAPED.sub(r"\\\g<0>", self.name)
        kind = "" if self.stream else ":type=datagram"
        return f"systemd:{name}{kind}" + (f":index={self.index}" if self.index is not None else "")


Endpoint = InetEndpoint | UnixEndpoint | SystemdEndpoint

_ESCAPED = re.compile(r"[\\:=\[]")
"""Characters with another meaning in a path or a name."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Field between colons: its text without escapes, and where its value begins in the string."""

    key: str
    value: str
    offset: int
    key_offset: int


def parse(text: str) -> Endpoint:
    """Read an endpoint description string.

    Raises:
        ValueFault: the text is no endpoint; says where in the text.
    """
    scheme, *fields = _split(text)
    if (meant := _as_elsewhere(text)) is not None:
        raise ValueFault("a port, and an address as interface=ADDRESS", repr(text), nearest=meant)
    build = _SCHEMES.get(scheme.value)
    if build is None:
        raise ValueFault(
            "an endpoint such as tcp:7007, udp:7007 or unix:run/echo.sock",
            f"the kind {scheme.value!r}" if fields else repr(text),
            length=len(scheme.value),
            nearest=_nearest(scheme.value, _SCHEMES) if fields else None,
        )
    return build(scheme.value, fields)


def resolve(endpoint: Endpoint, folder: Path) -> Endpoint:
    """Return the endpoint with a relative path counted from `folder`.

    Raises:
        ValueFault: the whole path is too long for a socket.
    """
    if not isinstance(endpoint, UnixEndpoint):
        return endpoint
    return replace(endpoint, path=_short_enough(Path(folder, endpoint.path)))


def _split(text: str) -> list[_Part]:
    """Cut at each colon that is neither escaped nor in brackets."""
    parts: list[_Part] = []
    for start, characters in _fields(text):
        value = "".join(character for _, character in characters)
        # An escaped character is found at its backslash, so this is a `=` that was not escaped.
        equals = next((at for at, (offset, _) in enumerate(characters) if text[offset] == "="), None)
        if equals is None or not parts:
            parts.append(_Part("", value, start, start))
            continue
        key, rest = value[:equals], value[equals + 1 :]
        offset = characters[equals][0] + 1
        if rest.startswith("[") and rest.endswith("]"):
            rest, offset = rest[1:-1], offset + 1
        parts.append(_Part(key, rest, offset, start))
    return parts


def _fields(text: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Yield each field's start and its characters with their offsets, escapes resolved."""
    start, field, in_brackets, escaped = 0, list[tuple[int, str]](), False, False
    for offset, character in enumerate(text):
        if escaped:
            field.append((offset - 1, character))
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ":" and not in_brackets:
            yield start, field
            start, field = offset + 1, []
        else:
            in_brackets = character == "[" or (in_brackets and character != "]")
            field.append((offset, character))
    if escaped:
        raise ValueFault("a character after the backslash", "the end", offset=len(text) - 1)
    yield start, field


def _inet(scheme: str, fields: list[_Part]) -> InetEndpoint:
    keys = ("port", "interface", "backlog") if scheme.startswith("tcp") else ("port", "interface")
    values = _named(scheme, fields, keys)
    port = _number(values["port"], 0, 65535, "a port from 0 to 65535")
    interface = values.get("interface")
    return InetEndpoint(
        scheme,  # type: ignore[arg-type]  # one of _SCHEMES
        port,
        _address(interface, ipv6_only=scheme.endswith("6")) if interface else "",
        _backlog(values),
    )


def _unix(scheme: str, fields: list[_Part]) -> UnixEndpoint:
    keys = ("path", "mode", "backlog") if scheme == "unix" else ("path", "mode")
    values = _named(scheme, fields, keys)
    path = values["path"]
    if not path.value or "\0" in path.value:
        raise ValueFault("a path", repr(path.value), offset=path.offset)
    mode = values.get("mode")
    return UnixEndpoint(
        scheme,  # type: ignore[arg-type]  # one of _SCHEMES
        _short_enough(Path(path.value), path.offset),
        _mode(mode) if mode else DEFAULT_UNIX_MODE,
        _backlog(values),
    )


_ELSEWHERE = re.compile(
    r"(?:(?P<scheme>tcp6?|udp6?):)?(?://)?(?P<host>\\?\[[^][]*\\?\]|[^][:/]*)(?P<colon>:)?(?P<port>[0-9]{1,5})/?"
)


def _as_elsewhere(text: str) -> str | None:
    """Return the endpoint for other programs' forms: `127.0.0.1:7007`, `tcp://[::1]:7007`, `7007`."""
    if text.isascii() and text.isdigit():
        return f"tcp:{text}"
    found = _ELSEWHERE.fullmatch(text)
    if found is None or (found["host"] and not found["colon"]):
        return None
    host, scheme = found["host"].strip("[]"), found["scheme"]
    if scheme and not host and "//" not in text and not found["colon"]:
        return None  # it is written as it should be
    host = {"localhost": "127.0.0.1", "*": "", "0.0.0.0": "", "::": ""}.get(host, host)  # noqa: S104
    ipv6 = found["host"].startswith("[")
    name = f"{(scheme or 'tcp').removesuffix('6')}{'6' if ipv6 else ''}"
    if not host:
        return f"{name}:{found['port']}"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"{name}:{found['port']}:interface={f'[{host}]' if ipv6 else host}"


def _short_enough(path: Path, offset: int = 0) -> Path:
    length = len(os.fsencode(path))
    if length > MAX_UNIX_PATH:
        raise ValueFault(f"a path of at most {MAX_UNIX_PATH} bytes", f"{length}: {path}", offset=offset)
    return path


def _systemd(scheme: str, fields: list[_Part]) -> SystemdEndpoint:
    values = _named(scheme, fields, ("name", "type", "index"))
    name, kind, index = values["name"], values.get("type"), values.get("index")
    if not _SOCKET_NAME.fullmatch(name.value):
        raise ValueFault("the name of a socket of systemd", repr(name.value), offset=name.offset)
    if kind is not None and kind.value not in _KINDS:
        raise ValueFault(
            "stream or datagram",
            repr(kind.value),
            offset=kind.offset,
            length=len(kind.value),
            nearest=_nearest(kind.value, _KINDS),
        )
    return SystemdEndpoint(
        name.value,
        kind.value if kind else "stream",  # type: ignore[arg-type]  # one of _KINDS
        _number(index, 0, MAX_INHERITED, "a number from 0") if index else None,
    )


_KINDS = get_args(Transport)
_SOCKET_NAME = re.compile(rf"[ -9;-~]{{1,{MAX_SOCKET_NAME}}}")

_SCHEMES: Mapping[str, Callable[[str, list[_Part]], Endpoint]] = {
    "tcp": _inet,
    "tcp6": _inet,
    "udp": _inet,
    "udp6": _inet,
    "unix": _unix,
    "unixgram": _unix,
    "systemd": _systemd,
}


def _named(scheme: str, fields: list[_Part], keys: tuple[str, ...]) -> dict[str, _Part]:
    """Give each field its key: the first is positional, the others say theirs."""
    first, *others = fields or [_Part("", "", len(scheme), len(scheme))]
    if first.key and first.key != keys[0]:
        # As in Twisted's grammar the first field may be named too; any other name is misplaced.
        raise ValueFault(f"{scheme}:{keys[0].upper()}", repr(first.key), offset=first.key_offset)
    values = {keys[0]: first}
    for part in others:
        if not part.key and "interface" in values:
            colon = part.key_offset - 1
            raise ValueFault(
                "an IPv6 address in brackets: interface=[::1]", "a colon", offset=colon, length=1
            )
        if part.key not in keys:
            known = ", ".join(f"{key}=" for key in keys[1:])
            raise ValueFault(
                f"one of {known}",
                repr(part.key or part.value),
                offset=part.key_offset,
                length=len(part.key or part.value),
                nearest=_nearest(part.key, keys),
            )
        if part.key in values:
            raise ValueFault(f"{part.key}= once", "it again", offset=part.key_offset, length=len(part.key))
        values[part.key] = part
    return values


def _number(part: _Part, low: int, high: int, expected: str, base: int = 10) -> int:
    digits = part.value
    # int() would also take signs, blanks, underscores and digits of other scripts.
    valid = digits.isascii() and digits.isalnum()
    try:
        number = int(digits, base) if valid else -1
    except ValueError:
        number = -1
    if not low <= number <= high:
        raise ValueFault(expected, repr(digits), offset=part.offset, length=len(digits))
    return number


def _backlog(values: dict[str, _Part]) -> int | None:
    part = values.get("backlog")
    return _number(part, 1, MAX_BACKLOG, f"a backlog from 1 to {MAX_BACKLOG}") if part else None


def _mode(part: _Part) -> int:
    return _number(part, 0, 0o777, "permissions in octal, such as 600", base=8)


def _address(part: _Part, *, ipv6_only: bool) -> str:
    expected = "an IPv6 address" if ipv6_only else "an IPv4 or IPv6 address"
    try:
        address = ipaddress.ip_address(part.value)
    except ValueError:
        address = None
    if address is None or (ipv6_only and address.version == 4):
        local = "::1" if ipv6_only else "127.0.0.1"
        raise ValueFault(
            expected,
            repr(part.value),
            offset=part.offset,
            length=len(part.value),
            nearest=local if part.value == "localhost" else None,
        )
    return str(address)


def _nearest(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)
