"""API dialects as data-to-data functions, without I/O."""
