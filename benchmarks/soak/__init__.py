"""Soak test: every built-in service under a mixed load, with a sample of the daemon every few seconds."""
