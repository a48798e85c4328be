"""TLS: certificate files and encrypted streams."""
