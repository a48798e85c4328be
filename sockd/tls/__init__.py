"""TLS: from certificate files to encrypted streams."""
