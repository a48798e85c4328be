"""`[control]`: the socket for orders to the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sockd.config.written import Written, folder_of
from sockd.endpoint import DEFAULT_UNIX_MODE, UnixEndpoint, parse, resolve
from sockd.errors import ValueFault

_A_CONTROL_SOCKET = "a UNIX socket such as unix:run/control.sock"

_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "description": "unix:PATH; nobody but root and the daemon's own user can use it.",
    "examples": ["unix:run/control.sock"],
    "pattern": "^unix:",
}


def _read_endpoint(text: str) -> UnixEndpoint:
    endpoint = parse(text)
    if not isinstance(endpoint, UnixEndpoint) or not endpoint.stream:
        raise ValueFault(_A_CONTROL_SOCKET, repr(text), length=len(text.partition(":")[0]))
    if endpoint.mode != DEFAULT_UNIX_MODE:
        raise ValueFault("no mode but 600, as whoever can connect can stop the daemon", repr(text))
    return endpoint


ControlEndpoint = Annotated[
    UnixEndpoint,
    Written(_A_CONTROL_SOCKET, _read_endpoint, _SCHEMA),
    AfterValidator(lambda endpoint, info: resolve(endpoint, folder_of(info))),
]


class Control(BaseModel):
    """Socket over which `sockd status` and the like speak with the daemon."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: ControlEndpoint | None = Field(
        default=None,
        description="UNIX socket, unix:PATH, which only root and the daemon's own user can use; without "
        "it, there is none.",
    )
