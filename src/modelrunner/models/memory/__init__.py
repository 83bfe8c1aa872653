"""What a model takes of memory, from its shape: the arithmetic, and whether it fits. Pure."""
