"""The engine contract and the built-in engines."""
