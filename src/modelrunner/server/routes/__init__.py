"""Route handlers, one module for each family of paths."""
