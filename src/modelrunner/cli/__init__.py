"""The command line: standard library only until a command needs more."""
