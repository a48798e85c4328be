"""Zoo of hostile peers: every known kind of bad peer, and its effect on a good one."""
