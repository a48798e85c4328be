"""Sockets: opened, inherited, kept over a restart, given to the reactor, and asked for facts."""
