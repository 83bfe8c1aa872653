"""Models and engines on their way here or away: pulled, pushed, taken over, installed, verified."""
