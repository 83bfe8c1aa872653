"""What the daemon tells about itself: logs, and later records and metrics."""
