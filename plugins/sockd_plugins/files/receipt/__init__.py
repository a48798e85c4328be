"""Receipts: what was stored, signed with the key of the server."""
