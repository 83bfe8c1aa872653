"""Models that are elsewhere, found by words: Docker Hub and Hugging Face behind one interface."""
