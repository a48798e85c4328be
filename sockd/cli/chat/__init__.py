"""`sockd chat`: a client of the plugin `chat`, on a terminal and in a pipe, over every transport."""
