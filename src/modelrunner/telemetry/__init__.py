"""What the daemon tells about itself: its logs and its metrics."""
