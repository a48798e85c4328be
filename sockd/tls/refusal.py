"""Reasons for which a TLS handshake fails, and OpenSSL's words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Refusal = Literal[
    "peer closed",
    "aborted",
    "not tls",
    "tls version",
    "no shared cipher",
    "no shared protocol",
    "no client certificate",
    "client certificate refused",
    "certificate not trusted",
    "tls handshake failed",
]
"""Reasons for the lack of a session. `certificate not trusted` is what the peer says of our certificate."""

REFUSALS: Mapping[str, Refusal] = {
    "http request": "not tls",
    "https proxy request": "not tls",
    "wrong version number": "not tls",
    "unsupported protocol": "tls version",
    "no shared cipher": "no shared cipher",
    "no application protocol": "no shared protocol",
    "peer did not return a certificate": "no client certificate",
    "certificate verify failed": "client certificate refused",
    "tlsv1 alert unknown ca": "certificate not trusted",
    "tls alert bad certificate": "certificate not trusted",
    "tls alert certificate unknown": "certificate not trusted",
    "tls alert certificate expired": "certificate not trusted",
    "tls alert unsupported certificate": "certificate not trusted",
}
"""Reasons by OpenSSL's words."""
