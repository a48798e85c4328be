"""Rooms, people and events of a chat, free of transports and wire formats.

`hub` takes the requests of people, `delivery` brings each of them what happens, in one order for all.
"""
