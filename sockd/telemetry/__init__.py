"""Telemetry: events, the log, metrics, and the watchdog of the reactor."""
