"""Whether a daemon stays what it is: every built-in service, a mixed load, and a look every few seconds."""
