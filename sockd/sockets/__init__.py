"""Sockets: open, inherit, keep over a restart, give to the reactor, and read the facts of a transport."""
