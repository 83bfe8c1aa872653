"""From the arguments to a command and its exit code. The plug-in's metadata is answered before any import."""

import sys

_VENDOR = "Model Runner"
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended


def dmr() -> int:
    """Run `dmr`, the program that is daemon and client in one."""
    return main(sys.argv[1:], standalone=True)


def docker_model() -> int:
    """Run `docker-model`: what docker calls for `docker model`, and a program of its own."""
    if sys.argv[1:2] == ["docker-cli-plugin-metadata"]:
        from modelrunner import __version__

        print(
            f'{{"SchemaVersion":"0.1.0","Vendor":"{_VENDOR}","Version":"v{__version__}",'
            '"ShortDescription":"Docker Model Runner"}'
        )
        return 0
    return main(sys.argv[1:], standalone=False)


def main(arguments: list[str], *, standalone: bool) -> int:
    """Do what the arguments say; errors end as one message on stderr and the exit code of their class."""
    try:
        return _main(arguments, standalone=standalone)
    except KeyboardInterrupt:  # wherever it comes, even between two imports
        return _INTERRUPTED


def _main(arguments: list[str], *, standalone: bool) -> int:
    import os

    _open_missing()
    from modelrunner.cli.dispatch import dispatch
    from modelrunner.cli.output import discard_output, know_terminal, render_error, unforeseen
    from modelrunner.errors import RunnerError

    know_terminal(os.environ)
    try:
        code = dispatch(arguments, os.environ, standalone=standalone)
        sys.stdout.flush()
    except RunnerError as exc:
        sys.stderr.write(render_error(exc))
        return exc.exit_code
    except BrokenPipeError:
        discard_output()
        return _BROKEN_PIPE
    except Exception as exc:
        if os.environ.get("LOG_LEVEL") == "debug":
            raise
        sys.stderr.write(render_error(unforeseen(exc)))
        return 1
    return code


def _open_missing() -> None:
    """Put something where a caller closed a standard stream (`>&-`), for which Python has None.

    Nothing comes from such an input, and writing to such an output fails as on any closed one.
    """
    import os
    from io import TextIOWrapper

    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding has no letter for is no reason to fail.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
