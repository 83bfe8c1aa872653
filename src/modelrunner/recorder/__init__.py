"""What is known of requests once they are answered: read, redacted, kept in SQLite, found, compared."""
