"""Orders to a running daemon, over a UNIX socket: what takes them, what answers them, what gives them.

One JSON object a line in both directions, one request at a time on a connection:

    {"command": "kick", "id": "echo:17"}
    {"ok": true, "result": null}
    {"command": "pause", "service": "ehco"}
    {"ok": false, "error": "expected a service, found 'ehco'; did you mean 'echo'?"}

`words` has the commands with their arguments; a refusal may carry a `result` with more than its line tells. A
request has at most 64 KiB and comes within 30 seconds; there are at most 32 connections, of root and of the
daemon's own user.
"""
