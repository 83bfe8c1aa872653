"""The settings of the daemon and the command line: one table, read once, refused when malformed.

Every start of the command line reads them, so they stay with the cheap half of the standard library.
Options of a single model are no settings: they are state of the daemon, set through `_configure`.
"""
