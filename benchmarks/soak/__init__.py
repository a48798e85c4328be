"""Whether sockd stays what it is: one daemon, every built-in service, a mixed load, and a look every few seconds."""
