"""Site: what all requests of a service share."""

from __future__ import annotations

from dataclasses import dataclass

from sockd.plugin import Context
from sockd_plugins.files.access.access import Access
from sockd_plugins.files.access.credentials import from_authorization
from sockd_plugins.files.http.file_digests import FileDigests
from sockd_plugins.files.http.request import Request
from sockd_plugins.files.receipt.receipts import Receipt, Receipts
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the plugin that concern HTTP.

    Attributes:
        origins: of pages on other hosts that may send files, as browsers write them; "*" for all.
        serve: whether received files are listed and sent.
    """

    origins: tuple[str, ...] = ()
    serve: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Service that requests are for.

    Attributes:
        engine: receives the files.
        access: decides who may send.
        receipts: of stored files.
        digests: of stored files, for those who want another one than they are told anyway.
        options: of the plugin.
        context: of the service.
    """

    engine: Engine
    access: Access
    receipts: Receipts
    digests: FileDigests
    options: Options
    context: Context

    async def sender(self, request: Request) -> Sender:
        """Return the sender of a request, who has a token in its path, or shows it or a password in a field.

        With a token that has just expired files may come again.

        Raises:
            FileRefused: the client may not send.
        """
        return await self._sender(request, again=True)

    async def reader(self, request: Request) -> Sender:
        """Return who wants to read, in the same way.

        Raises:
            FileRefused: the client may not send, and read neither.
        """
        return await self._sender(request, again=False)

    async def _sender(self, request: Request, *, again: bool) -> Sender:
        try:
            shown = from_authorization(request.headers.get("authorization"))
        except ValueError as error:
            raise FileRefused("denied", str(error)) from error
        return await self.access.sender(
            request.sender_host,
            token=request.token or shown.token,
            user=shown.user,
            password=shown.password,
            certificate=request.certificate,
            again=again,
        )

    async def receipt(self, stored: Stored, sender: Sender, at: float | None = None) -> Receipt:
        """Return the signed receipt of a file that was stored at a Unix time, or now."""
        return await self.engine.run(self.receipts.issue, stored, sender, at)

    def stored(self, request: Request, stored: Stored) -> None:
        """Write to the log that a file is stored."""
        self.context.logger.info(
            "file received",
            file=stored.path,
            size=stored.size,
            digest=stored.digest,
            peer=request.sender_host,
        )

    def refused(self, request: Request, refused: FileRefused) -> None:
        """Write to the log that a file is refused."""
        request.refusal_is_logged = True
        self.context.logger.info(
            "file refused", code=refused.code, reason=str(refused), peer=request.sender_host
        )
