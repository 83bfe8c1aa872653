"""The server for models that make and change images; `standalone/__main__.py` runs it."""
