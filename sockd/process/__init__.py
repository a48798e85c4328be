"""Start, signals and end of a daemon's process, in either role."""
