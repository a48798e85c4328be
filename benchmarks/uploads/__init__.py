"""Uploads to sockd and to other servers, side by side: processor time, rate, and memory of slow ones."""
