"""Paths of the chat's site, and the origins whose pages may use it."""

from __future__ import annotations

import re
import secrets
import time

from sockd.plugin import Context
from sockd.text import printable
from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.web import page
from sockd_plugins.chat.web.connection import Stream
from sockd_plugins.chat.web.event_stream import EventStream, take_commands
from sockd_plugins.chat.web.hooks import Hooks
from sockd_plugins.chat.web.options import Options
from sockd_plugins.chat.web.request import Answer, Problem, Request
from sockd_plugins.chat.web.rooms import answer_rooms
from sockd_plugins.chat.web.session import Salon, Session
from sockd_plugins.chat.web.sources import Sources
from sockd_plugins.chat.web.websocket import open_websocket

_PORT = re.compile(r":\d*$")

MOST_STREAMS = 1000
"""Event streams that have not said who they are, beside those of the chat's members."""


class Site:
    """Site of a chat.

    Args:
        hub: the chat.
        context: of the service.
        options: of the plugin.
        accounts: of the chat; None if it has none.
    """

    def __init__(
        self,
        hub: Hub,
        context: Context,
        options: Options,
        accounts: Accounts | None = None,
    ) -> None:
        here: dict[str, Session] = {}
        epoch = "" if hub.is_stored else secrets.token_hex(4)
        self._salon = Salon(hub, context.clock, here, options.limits, epoch, accounts)
        self._logger = context.logger
        self._hosts = frozenset(host.lower() for host in options.hosts)
        self._origins = frozenset(origin.lower() for origin in options.origins)
        self._sources = Sources(options.rate, options.burst, context.clock.seconds)
        self._streams: dict[str, EventStream] = {}
        self._hooks = Hooks(options.hooks, self._salon, self._sources, time.time)

    async def answer(self, request: Request) -> Answer | Stream:
        """Implement `Answering.answer`."""
        self._check_host(request)
        path = request.path
        if path == "/" or path.startswith("/-/"):
            return page.answer(request)
        if path.startswith("/hooks/"):
            return await self._hooks.answer(request)
        permitted = self._check_origin(request)
        answer = await self._answer(request, permitted)
        if isinstance(answer, Answer) and permitted:
            answer.headers += [("Access-Control-Allow-Origin", permitted), ("Vary", "Origin")]
        return answer

    async def _answer(self, request: Request, permitted: str) -> Answer | Stream:
        path = request.path
        if path == "/socket":
            return open_websocket(request, self._salon)
        if path == "/events" and request.method == "GET":
            if len(self._streams) >= MOST_STREAMS + self._salon.limits.get("members", 0):
                raise Problem(503, "full", "there are too many streams", [("Retry-After", "5")])
            return EventStream(self._salon, request.host, self._streams)
        if path.startswith("/events/") and request.method == "POST":
            return take_commands(request, self._streams)
        if path == "/rooms" or path.startswith("/rooms/"):
            lines = f"Access-Control-Allow-Origin: {permitted}\r\nVary: Origin\r\n" if permitted else ""
            return await answer_rooms(request, self._salon, self._sources, lines)
        raise Problem(404, "no_such_path", "there is no such path")

    def _check_host(self, request: Request) -> None:
        """Refuse names that were only made to lead here: pages under them pass for the chat's own."""
        if self._hosts and _PORT.sub("", request.headers.get("host", "").lower()) not in self._hosts:
            raise Problem(421, "denied", "this chat has another name; the option 'hosts' lists them")

    def _check_origin(self, request: Request) -> str:
        """Refuse pages of other origins: a browser lets any page open a WebSocket or send a form anywhere.

        Returns:
            The origin of a page on another host that is permitted; empty for all others.
        """
        origin = request.headers.get("origin")
        if origin is None:
            if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise Problem(403, "denied", "pages of other sites may not use this chat")
            return ""
        host = request.headers.get("host", "").lower()
        if host and origin.partition("://")[2].lower() == host:
            return ""
        if origin.isascii() and ("*" in self._origins or origin.lower() in self._origins):
            return origin
        self._logger.info("origin refused", origin=printable(origin)[:200], peer=request.host)
        raise Problem(
            403, "denied", "pages of this origin may not use this chat; the option 'origins' permits it"
        )
