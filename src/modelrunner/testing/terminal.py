"""A program in a terminal that a test looks at: a `tmux` session, with keys in and the screen out."""

import os
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PATIENCE = 30.0  # seconds
_OPTIONS = (
    "set -g remain-on-exit on\n"
    "set -g history-limit 5000\n"
    "set -g status off\n"
    "set -s set-clipboard on\n"
    "set -s escape-time 0\n"
    "set -g default-terminal screen-256color\n"
)


class Window:
    """One program in a window of its own; `folder` is where the session's files are."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options, output = folder / "tmux.conf", folder / "output"
        options.write_text(_OPTIONS)
        os.mkfifo(output)
        self._environ = {key: value for key, value in environ.items() if not key.startswith("TMUX")}
        self._environ |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        size = ["-x", str(columns), "-y", str(rows)]
        self._code = folder / "code"
        # tmux itself sometimes loses how a program ended. The trap leaves Ctrl-C to the program.
        script = 'trap : INT; code=$1; shift; "$@"; echo $? > "$code.new"; mv "$code.new" "$code"'
        watched = ["sh", "-c", script, "sh", self._code, *command]
        self._tmux("-f", options, "new-session", "-d", *size, shlex.join(map(str, watched)))
        self._output = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
        self._tmux("pipe-pane", "-O", f"exec cat > {shlex.quote(str(output))}")

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them: `Enter`, `C-c`, `Tab`."""
        self._tmux("send-keys", *keys)

    def enter(self, text: str) -> None:
        """Type a line."""
        self.type(text)
        self.press("Enter")

    def paste(self, text: str) -> None:
        """Paste a text, as a terminal does when it is told where a paste begins and ends."""
        subprocess.run(
            [*self._command(), "load-buffer", "-"], input=text.encode(), env=self._environ, check=True
        )
        self._tmux("paste-buffer", "-p", "-r")

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def screen(self) -> str:
        """What is seen."""
        return self._tmux("capture-pane", "-p").rstrip("\n")

    @property
    def styled(self) -> str:
        """What is seen, with its colours as escape sequences."""
        return self._tmux("capture-pane", "-p", "-e").rstrip("\n")

    @property
    def history(self) -> str:
        """What is seen, and what has scrolled out of sight."""
        return self._tmux("capture-pane", "-p", "-S", "-").rstrip("\n")

    @property
    def clipboard(self) -> str:
        """What the program has put there."""
        return self._tmux("show-buffer")

    def wait_for(self, text: str, *, gone: bool = False) -> str:
        """Wait until a text is seen, or with `gone` is seen no more; returns the screen.

        Raises:
            AssertionError: it is not in time.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            screen = self.screen
            if (text in screen) is not gone:
                return screen
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} {'stays' if gone else 'does not appear'}:\n{self.history}")
            self._wait_for_output()

    def end(self) -> int:
        """Wait for the program to end; its exit code.

        Raises:
            AssertionError: it does not in time.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self._code.exists():
            if time.monotonic() > deadline:
                raise AssertionError(f"the program goes on:\n{self.history}")
            self._wait_for_output()
        return int(self._code.read_text())

    def close(self) -> None:
        """End the session, and the program with it."""
        subprocess.run(
            [*self._command(), "kill-server"], env=self._environ, check=False, stderr=subprocess.DEVNULL
        )
        os.close(self._output)

    def _wait_for_output(self) -> None:
        """Return once something was written, or after a moment."""
        select.select([self._output], [], [], 0.1)
        try:
            if not os.read(self._output, 1 << 16):
                time.sleep(0.02)  # nobody writes any more
        except BlockingIOError:
            return

    def _command(self) -> list[str]:
        return ["tmux", "-u", "-S", str(self._folder / "socket")]

    def _tmux(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [*self._command(), *map(str, arguments)],
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"tmux {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
