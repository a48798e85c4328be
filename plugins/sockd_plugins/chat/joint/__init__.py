"""Chat over several processes and machines, by the broker of the daemon.

- `rooms`: what is said in a room is a subject, and has its number from there.
- `people`: each person is a key of the process that serves it, so a name has one bearer.
- `charters`: who may do what in a room, for processes that come later.
- `exchange`: topics, modes, removals, invitations and private messages are one subject: they happen in
  every process in the same order.
"""
