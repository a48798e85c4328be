"""Notices of received files: durable before the sender's answer, delivered at least once."""
