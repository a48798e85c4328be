"""History of a chat: its messages in an SQLite database in the service's state folder.

`history` is what a hub uses. `writer` stores messages in a thread of its own, all that wait in one
transaction; `owner` sees to it that one process does so at a time. `reading` and `words` find messages,
`erasing` removes their text, `upkeep` does in quiet moments what no speaker should wait for.
"""
