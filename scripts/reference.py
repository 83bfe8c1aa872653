"""Write the parts of docs/reference that are generated from the code: settings, commands, errors, fields."""

from pathlib import Path

from modelrunner import errors
from modelrunner.cli import table
from modelrunner.cli.command import build_parser
from modelrunner.dialects import fields_table
from modelrunner.settings.table import CLIENT, DAEMON, Setting, flag_of

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "This page is generated from the code; `make docs` writes it."


def commands() -> str:
    """The help of every command of `dmr`, as it prints it."""
    aliases = {name: alias for alias, name in table.ALIASES.items()}
    parts = [
        f"# Commands\n\n{NOTE}\n\n`docker model COMMAND` takes the same, but for `serve`.\n\n",
        "Exit codes: 0 done, 1 failed, 2 wrong input, 3 not found, 4 not allowed, 5 no daemon,\n",
        "130 interrupted. Results go to stdout, everything else to stderr.\n",
    ]
    for name, entry in sorted(table.COMMANDS.items()):
        also = f" (`{aliases[name]}`)" if name in aliases else ""
        text = build_parser(name, entry, "dmr").format_help().rstrip()
        parts.append(f"\n## {name}{also}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def error_classes(root: type[errors.RunnerError] = errors.RunnerError) -> list[type[errors.RunnerError]]:
    """The tree of errors, parents first."""
    found = [root]
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found += error_classes(child)
    return found


def error_codes() -> str:
    """Every error code, with its HTTP status and exit code."""
    rows = "".join(
        f"| `{cls.code}` | {cls.status} | `{cls.openai_type}` | {cls.exit_code} | "
        f"{(cls.__doc__ or '').splitlines()[0]} |\n"
        for cls in error_classes()
    )
    return (
        f"# Errors\n\n{NOTE}\n\n"
        "An error has a sentence, a code, and often a hint that says what to do. OpenAI routes\n"
        'answer `{"error": {"message", "type", "code", "param", "hint"}}`; the native routes answer\n'
        "the sentence as text, or that same JSON for a client whose `Accept` has\n"
        "`application/vnd.modelrunner.error+json`.\n\n"
        "| code | HTTP | OpenAI type | exit code | meaning |\n|---|---:|---|---:|---|\n"
        f"{rows}"
    )


def settings() -> str:
    """Every setting: how it is set, its default and its meaning."""
    parts = [
        "# Settings\n\n",
        "A flag wins over an environment variable, and that over the default. A value that cannot be\n",
        "read is an error that names it. Durations are written like `30s`, `5m` or `1h30m`, sizes like\n",
        "`20MB` or `64MiB`, booleans `true` or `false`, lists with commas.\n\n",
        f"{NOTE}\n",
    ]
    for title, rows in (("The daemon", DAEMON), ("The command line", CLIENT)):
        parts += [f"\n## {title}\n\n", "| Variable | Flag | Default | Meaning |\n", "|---|---|---|---|\n"]
        parts += [_setting_row(name, row) for name, row in rows.items()]
    return "".join(parts)


def _setting_row(name: str, row: Setting) -> str:
    default = row.shown or row.default
    cells = (
        f"`{row.environment}`",
        f"`{flag_of(name)}`" if row.flag else "",
        f"`{default}`" if default and " " not in default else default,
        row.help,
    )
    return f"| {' | '.join(cells)} |\n"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "settings.md": settings(),
        "commands.md": commands(),
        "errors.md": error_codes(),
        "fields.md": fields_table.page(NOTE),
    }


if __name__ == "__main__":
    for file_name, content in pages().items():
        (REFERENCE / file_name).write_text(content)
