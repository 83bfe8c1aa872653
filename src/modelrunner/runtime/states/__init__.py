"""What was computed of prompts, saved and restored."""
