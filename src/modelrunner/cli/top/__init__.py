"""The full-screen view of what goes on; `top` is the command, and nothing else loads this."""
