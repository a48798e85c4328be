"""Crash table: uploads whose daemon is killed, whose disk fails, or whose machine loses its power."""
