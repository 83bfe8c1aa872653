"""What is in force for models, as a table for people or as the JSON that stock clients print."""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator

from modelrunner.cli.names import display_name, short_id
from modelrunner.cli.output import clean, emit, is_terminal, note, standard_json, table
from modelrunner.cli.session import Session
from modelrunner.wire.configuration import ConfigurationView, InForce
from modelrunner.wire.insight import RefusalView

HEADER = ("MODEL NAME", "BACKEND", "MODE", "OPTION", "VALUE", "FROM")


def show(session: Session, name: str | None, form: str | None) -> int:
    """Print what was configured, of all models or one; a table has everything that is in force."""
    if form is None:
        form = "table" if is_terminal(sys.stdout) else "json"
    if form == "json":
        emit(standard_json(session.client().configurations(name), indent=2))
        return 0
    rows = session.client().configurations(name, effective=True)
    if not rows:
        note("Nothing is configured." if name is None else f"Nothing is known of `{name}`.")
        return 0
    emit(table(HEADER, sorted(_rows(rows, session.settings.default_registry))))
    return 0


def tell(name: str, refusal: RefusalView | None) -> None:
    """Say, to the person at the terminal, that what holds from now on keeps a model from being loaded."""
    if refusal is None:
        return
    note(f"note: `{clean(name)}` cannot be loaded as things are: {clean(refusal['message'])}")
    if refusal["hint"]:
        note(f"\nhint: {clean(refusal['hint'])}")


def values(row: ConfigurationView) -> dict[str, InForce]:
    """What is in force; of a daemon that does not tell, what was configured."""
    configured = {
        name: InForce({"value": value, "from": "configured"}) for name, value in row["Config"].items()
    }
    return row.get("Effective", configured)


def _rows(rows: Iterable[ConfigurationView], registry: str) -> Iterator[tuple[str, ...]]:
    for row in rows:
        tag = row.get("Model")
        name = display_name(tag, registry) if tag else short_id(row.get("ModelID", ""))
        for option, found in values(row).items():
            yield (
                name,
                row.get("Backend", ""),
                row.get("Mode", ""),
                option,
                option_text(found["value"]),
                found["from"],
            )


def option_text(value: object) -> str:
    """Write a value as the command line takes it; what is no text is JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return shlex.join(value)
    return json.dumps(value, ensure_ascii=False)
