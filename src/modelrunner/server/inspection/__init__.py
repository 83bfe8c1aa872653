"""What is known of requests, and why the scheduler did what it did: noted, recorded, counted, told."""
