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
    import os

    from modelrunner.cli.dispatch import dispatch
    from modelrunner.cli.output import render_error
    from modelrunner.errors import RunnerError

    try:
        code = dispatch(arguments, os.environ, standalone=standalone)
        sys.stdout.flush()
    except RunnerError as exc:
        sys.stderr.write(render_error(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _BROKEN_PIPE
    return code


def _discard_output() -> None:
    """Point stdout at nothing: its reader has left, and Python would complain when it flushes at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
