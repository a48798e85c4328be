"""Benchmarks of sockd and comparable servers: every server in turn, in one run, on one machine."""
