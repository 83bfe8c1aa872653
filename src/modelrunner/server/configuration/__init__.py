"""How models are to be run: read, checked, merged, kept in a file, and what is in force."""
