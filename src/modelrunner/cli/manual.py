"""The manual pages, from the definitions that `--help` prints: one for `dmr`, one for each command.

They are written when something is built of the project; no command imports this.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from modelrunner import __version__
from modelrunner.cli import table
from modelrunner.cli.command import build_parser
from modelrunner.settings.table import CLIENT

_EXIT = (
    ("0", "done"),
    ("1", "failed"),
    ("2", "the command line or the input is wrong"),
    ("3", "not found"),
    ("4", "not allowed"),
    ("5", "no daemon answers"),
    ("130", "interrupted"),
)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    names = [name for name, _ in table.listed(standalone=True)]
    return {"dmr.1": overview(names)} | {f"dmr-{name}.1": command(name) for name in names}


def overview(names: Sequence[str]) -> str:
    """The page of the program itself."""
    variables = [
        (row.environment, row.help) for row in sorted(CLIENT.values(), key=lambda row: row.environment)
    ]
    return _page(
        "dmr",
        "pull, package and serve AI models",
        {
            "SYNOPSIS": f".B dmr\n{_text('COMMAND [OPTIONS] [WORDS...]')}",
            "DESCRIPTION": _paragraphs(
                "Model Runner keeps AI models as OCI artifacts and serves them on the APIs of OpenAI, "
                "Anthropic and Ollama.",
                "Most commands talk to a daemon, and start it when it does not run. Results go to standard "
                "output, everything else to standard error.",
                "As a plug-in of docker the same commands are called with `docker model`.",
            ),
            "COMMANDS": _terms(
                (f"{name}{_alias(name)}", f"{table.COMMANDS[name].summary}.") for name in names
            ),
            "EXIT STATUS": _terms(_EXIT),
            "ENVIRONMENT": _terms(variables),
            "SEE ALSO": _references(f"dmr-{name}" for name in names),
        },
    )


def command(name: str) -> str:
    """The page of one command."""
    entry = table.COMMANDS[name]
    parser = build_parser(name, entry, "dmr")
    sections = {
        "SYNOPSIS": _text(parser.usage_line().removeprefix("Usage:  ")),
        "DESCRIPTION": _paragraphs(f"{entry.summary}."),
    }
    if rows := parser.flags():
        sections["OPTIONS"] = _terms(
            (f"{', '.join(flags)} {parser.placeholder(flags[-1])}".rstrip(), text) for flags, text in rows
        )
    if parser.examples:
        sections["EXAMPLES"] = f".nf\n{_text(parser.lines_of_examples())}\n.fi"
    sections["EXIT STATUS"] = _terms(_EXIT)
    sections["SEE ALSO"] = _references(["dmr"])
    return _page(f"dmr-{name}", entry.summary, sections)


def _alias(name: str) -> str:
    aliases = [alias for alias, command_name in table.ALIASES.items() if command_name == name]
    return f", {', '.join(aliases)}" if aliases else ""


def _page(name: str, summary: str, sections: Mapping[str, str]) -> str:
    title = name.upper().replace("-", r"\-")
    head = f'.TH "{title}" 1 "" "Model Runner {__version__}" "Model Runner"\n'
    first = f".SH NAME\n{_text(name)} \\- {_text(summary)}\n"
    return head + first + "".join(f".SH {title}\n{text}\n" for title, text in sections.items())


def _terms(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n.B {_text(term)}\n{_text(about)}" for term, about in rows)


def _paragraphs(*texts: str) -> str:
    return "\n.PP\n".join(map(_text, texts))


def _references(names: Iterable[str]) -> str:
    return ",\n".join(f".BR {_text(name)} (1)" for name in names).replace(",\n", " ,\n")


def _text(text: str) -> str:
    """Write text so that the formatter takes none of it for a request of its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


def write(folder: Path) -> None:
    """Write every page into a folder, and remove what is there of commands that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("dmr*.1"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text)
