"""What the daemon says about itself: events, and the logs that show them."""
