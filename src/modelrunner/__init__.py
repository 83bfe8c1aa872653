"""Model Runner: pull, package and serve AI models as OCI artifacts."""

__version__ = "1.1.0"
