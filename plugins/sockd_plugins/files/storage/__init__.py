"""Storage of received files: engine, ledger and folder. Nothing here knows of a protocol or a connection."""
