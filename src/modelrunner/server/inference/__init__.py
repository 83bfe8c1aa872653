"""The way of a request to a model, and of the answer to its client."""
