"""What the terminal does with keys while an answer is written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform == "win32":

    @contextmanager
    def without_echo() -> Iterator[None]:
        """Do nothing: the console does not show keys that nobody reads."""
        yield

else:
    import termios

    @contextmanager
    def without_echo() -> Iterator[None]:
        """Keep keys that are typed meanwhile out of the text; they are read afterwards, as ever."""
        try:
            before = termios.tcgetattr(sys.stdin)
        except (OSError, ValueError, termios.error):  # no terminal
            yield
            return
        quiet = [*before]
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
