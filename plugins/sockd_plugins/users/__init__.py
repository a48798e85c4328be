"""Users with passwords and keys, for each plugin that knows its peers.

`users` reads the file that has them, `passwords` the hashes in it; `tries` finds out whether a password is
right, without help for those who guess.
"""
