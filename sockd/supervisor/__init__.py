"""Many workers under one parent that holds the sockets.

The supervisor opens every socket and loads no plugin; it reads no byte of a peer. Each worker is a fresh
interpreter with one descriptor, a stream of messages to the supervisor; sockets come over that. Whatever
becomes of a worker, no socket is closed, and so no queued connection is lost.

A change of the state that is handed over, or of the commands to workers, must stay compatible with running
supervisors of earlier versions; otherwise `handover.FORM` grows.
"""
