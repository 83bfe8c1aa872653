"""Content-addressed storage of models on disk."""
