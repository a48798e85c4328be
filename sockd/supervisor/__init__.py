"""Many workers under one parent that holds the sockets.

The supervisor opens every socket and loads no plugin; it reads no byte of a peer. Each worker is a fresh
interpreter with one descriptor, a stream of messages to the supervisor; sockets come over that. Whatever
becomes of a worker, no socket is closed, and so no queued connection is lost.

    channel   messages with descriptors on a UNIX stream
    calls     questions and answers on a channel
    texts     the configuration as text, which every worker of a generation reads
    share     what of the configuration one worker serves
    worker    the worker's process
    inheritance   the sockets that it was given
    process   a process, as its parent sees it
    member    one worker, as the supervisor sees it: its start, its signs of life, its end
    holdings  what the supervisor holds open: sockets, and the shared counts of the limits
    crew      keeps N workers alive
    supervisor    start, stop, reload, upgrade
    succession    puts other code in the place of the supervisor, in the same process
    handover, successor   what the one image leaves, and the next one
    operator, merge   what an operator asks, answered for all workers
    daemon    the supervisor as a service of twistd
"""
