"""What happens before and while a model is in memory: prepared, measured, started, kept."""
