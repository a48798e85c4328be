"""IRC: RFC 1459 and 2812 as clients speak them today, with IRCv3 capabilities.

`connection` reads a client's commands, `commands` answers them, `forms` writes the events of the chat as
lines, `output` bounds what waits for a client that does not read.
"""
