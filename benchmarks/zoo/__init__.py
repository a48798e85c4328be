"""The hostile-peer zoo: every kind of bad peer that we know, one at a time, and what a good one feels of it."""
