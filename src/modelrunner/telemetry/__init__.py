"""What the daemon tells about itself: its logs."""
