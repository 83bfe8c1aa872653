"""Servers for models that hear and speak, in OpenAI's form; `standalone/__main__.py` runs them."""
