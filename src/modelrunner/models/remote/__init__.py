"""Models that are somewhere else: looked at by range, at Hugging Face, on a web server."""
