"""The life of a process that serves: listener, service, server, daemon or worker."""
