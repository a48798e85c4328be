"""Gives `twistd` its `sockd` command and its `uv` reactor; imports nothing of sockd until one is chosen."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

sockd = ServiceMaker(
    "sockd",
    "sockd.tap",
    "Serve every service of one TOML file over TCP, UDP and UNIX sockets.",
    "sockd",
)

uv = Reactor("uv", "sockd.uvreactor", "TCP and UNIX streams on uvloop's transports.")
