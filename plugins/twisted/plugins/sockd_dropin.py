"""Plugins of twistd: the `sockd` command and the `uv` reactor. Nothing of sockd is imported until one is
chosen.
"""

from typing import Any

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker


class _Command(ServiceMaker):
    """Command that prepares the process as soon as it is chosen."""

    @property
    def options(self) -> Any:
        """Options of the command line."""
        from sockd.process import startup

        startup.prepare()
        return super().options


sockd = _Command(
    "sockd",
    "sockd.tap",
    "Serve every service of one TOML file over TCP, UDP and UNIX sockets.",
    "sockd",
)

uv = Reactor("uv", "sockd.uvreactor", "TCP and UNIX streams on uvloop's transports.")
