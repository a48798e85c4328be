"""`[metrics]`: the port on which the daemon shows its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sockd.config.written import Written, folder_of
from sockd.endpoint import Endpoint, parse, resolve
from sockd.errors import ValueFault

_A_STREAM = "a stream endpoint such as tcp:9100:interface=127.0.0.1"

_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "description": "tcp:PORT:interface=ADDRESS, tcp6: likewise, unix:PATH or systemd:NAME. Whoever can "
    "connect can read.",
    "examples": ["tcp:9100:interface=127.0.0.1", "unix:run/metrics.sock:mode=660"],
    "pattern": "^(tcp6?|unix|systemd):",
}


def _read_endpoint(text: str) -> Endpoint:
    endpoint = parse(text)
    if not endpoint.stream:
        raise ValueFault(_A_STREAM, repr(text), length=len(text.partition(":")[0]))
    return endpoint


MetricsEndpoint = Annotated[
    Endpoint,
    Written(_A_STREAM, _read_endpoint, _SCHEMA),
    AfterValidator(lambda endpoint, info: resolve(endpoint, folder_of(info))),
]


class Metrics(BaseModel):
    """HTTP port with the metrics for Prometheus, the answers for probes and the status page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: MetricsEndpoint | None = Field(
        default=None,
        description="tcp:PORT:interface=ADDRESS, tcp6: likewise, unix:PATH or systemd:NAME; without it, "
        "there is no such port. Whoever can connect can read.",
    )
    hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$")], ...] = Field(
        default=(),
        description="Names under which browsers may open the status page, beside localhost, addresses and "
        "the machine's own host name. Probes and Prometheus may use any.",
    )
