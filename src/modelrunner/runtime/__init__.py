"""What is in memory: which engine instances run, who uses them and when they go."""
