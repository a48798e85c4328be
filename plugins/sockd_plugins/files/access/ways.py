"""Ways to send with a token: a link and the lines for a shell, for each protocol that a service speaks."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from sockd.endpoint import InetEndpoint
from sockd.plugin import Listening

_DEFAULT_PORTS = {"http": 80, "https": 443}

_ELSEWHERE = ("192.0.2.1", 9)
"""Address for documentation (RFC 5737). A datagram socket that is connected to it sends nothing, and has the
address of this machine on the way to the others."""


@dataclass(frozen=True, slots=True)
class Way:
    """Way to send: a name, and what to open, type or paste."""

    name: str
    text: str


def list_ways(token: str, listeners: Iterable[Listening], url: str = "") -> Iterator[Way]:
    """Yield the ways of a token, one for each protocol, the first listener of each.

    Args:
        token: its text.
        listeners: of the service.
        url: the public address of the `http` listener, if it is another one.
    """
    found: dict[str, Listening] = {}
    protocols: set[str] = set()
    for listener in listeners:
        protocols.add(listener.protocol)
        if isinstance(listener.endpoint, InetEndpoint):
            found.setdefault(listener.protocol, listener)
    host = urlsplit(url).hostname if url else None
    if "http" in (protocols if url else found):  # a proxy may reach it over a UNIX socket
        link = f"{(url or _url(found['http'])).rstrip('/')}/t/{token}/"
        yield Way("link", link)
        yield Way("curl", f"curl --fail-with-body -T FILE {link}")
    if upload := found.get("upload"):
        kind = "tls" if upload.encrypted else "tcp"
        yield Way("sockd", f"sockd send --token {token} FILE {kind}:{_place(upload, host)}")
    if sftp := found.get("sftp"):
        port, name = _port(sftp), _host(sftp, host)
        yield Way("sftp", f"sftp -P {port} {token}@{_bracketed(name)}")
        yield Way("scp", f"scp -P {port} FILE {token}@{_bracketed(name)}:")
    if tftp := found.get("tftp"):
        yield Way("tftp", f"curl -T FILE tftp://{_place(tftp, host)}/t/{token}/")
        yield Way("device", f"the file t/{token}/NAME at {_host(tftp, host)}, port {_port(tftp)}")


def _url(listener: Listening) -> str:
    scheme, port = "https" if listener.encrypted else "http", _port(listener)
    place = _bracketed(_host(listener, None))
    return f"{scheme}://{place}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")


def _place(listener: Listening, host: str | None) -> str:
    return f"{_bracketed(_host(listener, host))}:{_port(listener)}"


def _port(listener: Listening) -> int:
    assert isinstance(listener.endpoint, InetEndpoint)  # noqa: S101  # `list_ways` has chosen it
    return listener.endpoint.port


def _host(listener: Listening, host: str | None) -> str:
    """Return the host for others: the public one, the listener's address, or this machine's."""
    if host:
        return host
    assert isinstance(listener.endpoint, InetEndpoint)  # noqa: S101  # as above
    interface = listener.endpoint.interface
    if interface and not ip_address(interface.partition("%")[0]).is_unspecified:
        return interface
    return _own_address(ipv6=listener.endpoint.ipv6)


def _own_address(*, ipv6: bool) -> str:
    """Return the address of this machine for others, or its name if it has none."""
    if not ipv6:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(_ELSEWHERE)
                return str(sock.getsockname()[0])
            except OSError:  # it has no way to others
                pass
    return socket.gethostname()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
