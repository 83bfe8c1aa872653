"""The way to an engine: connections, requests and answers, and whether it is ready."""
