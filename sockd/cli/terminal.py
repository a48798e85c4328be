"""Conversation on a terminal: arriving text does not disturb the line that is being typed."""

from __future__ import annotations

import asyncio
import os
import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout

from sockd.cli.address import Address
from sockd.cli.conversation import no_answer, printable_lines
from sockd.cli.peer import Failed, Peer

PROMPT = "> "


def converse_on_terminal(peer: Peer, address: Address, wait: float) -> None:
    """Send the lines that a person types, and show what arrives above the line that is being typed.

    Args:
        peer: the service.
        address: of the service.
        wait: seconds for answers to datagrams after the end of the input.

    Raises:
        Failed: the connection broke, or the service speaks another protocol.
        KeyboardInterrupt: the person pressed Ctrl-C.
    """
    asyncio.run(_Conversation(peer, address, wait).run())


class _Conversation:
    def __init__(self, peer: Peer, address: Address, wait: float) -> None:
        self._peer = peer
        self._address = address
        self._wait = wait
        # The cursor's position is not asked for: there is one line, and no menu below it.
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(PROMPT, output=output, enable_suspend=True)
        self._over = asyncio.Event()
        self._failed: Failed | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._peer.sock, self._read)
        try:
            with patch_stdout():
                self._read()  # data that came with the handshake of TLS
                await self._type()
            if not self._over.is_set():
                await self._listen()
        finally:
            loop.remove_reader(self._peer.sock)
            loop.remove_writer(self._peer.sock)
        if self._failed is not None:
            raise self._failed

    async def _type(self) -> None:
        """Send what the person types, until either side ends."""
        while not self._over.is_set():
            try:
                typed = await self._session.prompt_async()
            except EOFError:
                if not self._over.is_set():
                    self._peer.finish()
                return
            if self._over.is_set():
                return
            lines = typed.encode(errors="replace").split(b"\n")
            if not self._address.stream:
                for line in lines:
                    self._peer.write(line)
            else:
                self._peer.write(b"".join(line + b"\n" for line in lines))
                self._send()

    async def _listen(self) -> None:
        """Show what still arrives: until a connection ends, or for `wait` seconds over datagrams."""
        self._send()
        if self._address.stream:
            await self._over.wait()
            return
        try:
            while not self._over.is_set():
                self._arrived.clear()
                await asyncio.wait_for(self._arrived.wait(), self._wait)
        except TimeoutError:
            if self._peer.told and not self._peer.heard and self._wait:
                raise no_answer(self._address, self._wait) from None

    def _send(self) -> None:
        """Send what waits, now or when there is room."""
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._peer.sock)
        try:
            self._peer.flush()
        except Failed as failed:
            self._fail(failed)
            return
        if self._peer.unsent:
            loop.add_writer(self._peer.sock, self._send)

    def _read(self) -> None:
        try:
            for data in self._peer.read():
                print("\n".join(printable_lines(data)))
        except Failed as failed:
            self._fail(failed)
        self._arrived.set()
        if self._peer.ended:
            self._leave()

    def _fail(self, failed: Failed) -> None:
        self._failed = failed
        self._leave()

    def _leave(self) -> None:
        """End the conversation, even while a line is being typed."""
        self._over.set()
        self._arrived.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._peer.sock)
        loop.remove_writer(self._peer.sock)
        if self._session.app.is_running:
            self._session.app.erase_when_done = True  # an empty prompt would be left
            self._session.app.exit(exception=EOFError())
