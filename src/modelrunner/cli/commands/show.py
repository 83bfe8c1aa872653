"""`show`: what is known of one model, laid out for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelrunner.cli.configured import option_text, values
from modelrunner.cli.output import clean, emit
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError
from modelrunner.units import format_bytes

if TYPE_CHECKING:
    from modelrunner.client import Client
    from modelrunner.wire.configuration import ConfigurationView
    from modelrunner.wire.models import ConfigView, Details, ModelView

_HEADERS = (
    ("gguf", "GGUF"),
    ("safetensors", "Safetensors"),
    ("diffusers", "Diffusers"),
    ("ctranslate2", "CTranslate2"),
    ("onnx", "ONNX"),
)


def configure(parser: Parser) -> None:
    """Take one model."""
    parser.words("MODEL", least=1, most=1)
    parser.examples = "  show ai/smollm2\n  show --remote ai/qwen3"
    parser.switch("-r", "--remote", help="Show the model as its registry has it, without pulling it")


def run(args: Namespace, session: Session) -> int:
    """Print blocks of labels and values."""
    client, name = session.client(), args.words[0]
    model = client.model(name, remote=args.remote)
    emit(layout(model, [] if args.remote else _configurations(client, name)))
    return 0


def layout(model: ModelView, rows: Sequence[ConfigurationView] = ()) -> str:
    """Lay a model out; a line or block about which nothing is known is left out."""
    config = model.get("config")
    blocks = [_labels(_identity(model), 13)]
    if config is not None:
        blocks += [_labels(_nature(config), 14), *_metadata(config)]
    if details := model.get("details"):
        blocks.append(_labels(_fit(details), 14))
    blocks += [_configuration(row) for row in rows]
    return "\n".join(block for block in blocks if block)


def _identity(model: ModelView) -> Iterator[tuple[str, str]]:
    yield "Model", model.get("id", "")
    if tags := model.get("tags"):
        yield "Tags", ", ".join(tags)
    if created := model.get("created"):
        yield "Created", _moment(created)


def _moment(seconds: int) -> str:
    """Write a time in Unix seconds as RFC 3339 has it, in local time; one beyond the calendar as a number."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    except (OverflowError, OSError, ValueError):
        return str(seconds)
    return moment.isoformat().replace("+00:00", "Z")


def _nature(config: ConfigView) -> Iterator[tuple[str, str]]:
    yield "Format", config.get("format", "")
    yield "Architecture", config.get("architecture", "")
    yield "Parameters", config.get("parameters", "")
    yield "Size", config.get("size", "")
    yield "Quantization", config.get("quantization", "")
    if size := config.get("context_size"):
        yield "Context Size", str(size)


def _metadata(config: ConfigView) -> Iterator[str]:
    headers: Mapping[str, object] = config
    for key, title in _HEADERS:
        found = headers.get(key)
        if isinstance(found, dict) and found:
            lines = (f"  {clean(str(name))}: {clean(str(value))}\n" for name, value in sorted(found.items()))
            yield f"{title} Metadata:\n{''.join(lines)}"


def _fit(details: Details) -> Iterator[tuple[str, str]]:
    """What a model would take of this machine, for one that is still elsewhere."""
    yield "Download", format_bytes(details["size"])
    needed, available = details["memory_needed"], details["memory_available"]
    verdict = "fits" if details["fits"] else "does not fit"
    yield "Memory", f"{format_bytes(needed)} of {format_bytes(available)}, {verdict}"
    if context := details.get("fits_context"):
        yield "Fits Context", str(context)


def _configuration(row: ConfigurationView) -> str:
    """What is in force when the model runs, and where each value comes from."""
    found = values(row)
    if not found:
        return ""
    lines = (
        f"  {clean(name)}: {clean(option_text(option['value']))} ({clean(option['from'])})\n"
        for name, option in sorted(found.items())
    )
    return f"Configuration ({clean(row.get('Backend', ''))}, {clean(row.get('Mode', ''))}):\n{''.join(lines)}"


def _labels(pairs: Iterator[tuple[str, str]], width: int) -> str:
    return "".join(f"{f'{label}:':<{width}}{clean(text)}\n" for label, text in pairs if text)


def _configurations(client: Client, name: str) -> list[ConfigurationView]:
    try:
        return client.configurations(name, effective=True)
    except RunnerError:  # daemons of before, and the reference, cannot say
        return []
