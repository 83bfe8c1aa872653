"""One OpenAI-compatible address in front of several providers; it knows nothing of the daemon."""
