"""Web server that is told of each received file, by a POST of JSON."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from threading import Event
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from typing_extensions import override

from sockd_plugins.files.notices.notice import NotDelivered, Notice


@dataclass(frozen=True, slots=True)
class Webhook:
    """Web server; an answer of 2xx means that it has taken the notice.

    With a secret, the field `Sockd-Signature` has `sha256=` and the HMAC-SHA-256 (RFC 2104) of the body in
    hexadecimal digits.

    Attributes:
        url: of http or https.
        secret: shared with the server; "" for none.
        service: the name of the service.
        seconds: without a byte from the server.
    """

    url: str
    secret: str
    service: str
    seconds: float = 20.0

    def deliver(self, notice: Notice, stopping: Event) -> None:  # noqa: ARG002  # it ends soon by itself
        """Post a notice.

        Raises:
            NotDelivered: the server cannot be reached, or answers otherwise.
        """
        body = notice.as_json(self.service)
        fields = {"Content-Type": "application/json", "User-Agent": "sockd"}
        if self.secret:
            digest = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
            fields["Sockd-Signature"] = f"sha256={digest}"
        request = Request(self.url, body, fields, method="POST")  # noqa: S310  # the scheme was checked
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.seconds) as answer:
                answer.read(0)
        except HTTPError as error:
            error.close()
            raise NotDelivered(f"the server answered {error.code} {error.reason}") from None
        except (OSError, URLError) as error:
            reason = getattr(error, "reason", None) or error
            raise NotDelivered(f"the server cannot be reached: {reason}") from error


class _NoRedirect(HTTPRedirectHandler):
    """Refusal to follow: a redirected POST loses its body, and a notice is for one server."""

    @override
    def redirect_request(self, *_: object) -> None:
        return None
