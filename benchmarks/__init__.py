"""sockd against its peers: every server in turn, in one run, on one machine."""
