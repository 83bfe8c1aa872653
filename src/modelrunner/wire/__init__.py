"""The shapes of our own HTTP API, as both sides see them: a module for each part of it.

They are typed dictionaries, with which the daemon validates. Making them takes a while, so the
client and the commands that are to be quick import them for type checkers only.
Field names are the reference's, because stock clients read them.
"""
