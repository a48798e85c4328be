"""Gives `twistd` its `sockd` command; imports nothing of sockd until the command is chosen."""

from twisted.application.service import ServiceMaker

sockd = ServiceMaker(
    "sockd",
    "sockd.tap",
    "Serve every service of one TOML file over TCP, UDP and UNIX sockets.",
    "sockd",
)
