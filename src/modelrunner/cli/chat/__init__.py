"""A conversation at a terminal, and answers on any output. `run` is the command; nothing else loads this."""
