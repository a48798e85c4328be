"""What the process that serves and the process that supervises share: start, signals and end."""
