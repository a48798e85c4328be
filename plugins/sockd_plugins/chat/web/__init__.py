"""Chat over HTTP: a page for browsers, WebSockets, streams of server-sent events, and rooms as pipes for
scripts.

`connection` reads requests within bounds and `site` answers them. `session` is the conversation in JSON that
`websocket` and `event_stream` carry, `rooms` has the paths for scripts, `hooks` those for programs that sign
what they send.
"""
