"""The hostile-peer zoo: every kind of bad peer that we know, and what a good one feels of each."""
