"""Protocols over connections, TCP or UNIX: `upload` and `raw`."""
