"""After receipt: signed receipts, and an outbox that tells others of each file at least once."""
