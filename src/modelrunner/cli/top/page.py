"""Everything on one page of so many columns and rows: lines of styled text. Pure; knows no screen."""

from collections.abc import Sequence
from typing import NamedTuple

from modelrunner.cli.cells import crop, width_of
from modelrunner.cli.top.picture import Picture, Row, event_lines, memory_of, queue_lines, size, trouble
from modelrunner.cli.top.rates import Rates, sparkline

_KEYS = "↑↓ choose · u unload · p pin · q quit"
_GAP = "  "
_LEAST = 8  # columns of a model's name
_LABEL = 10  # columns
_BAR = 20  # columns
_FEWEST, _BARS, _STEP = 6, 60, 2.0  # at least and at most of the sparkline; seconds of each
_ROOMY = 16  # rows from which on there are empty lines
_SHORT = 9  # rows below which only the essential is there


class Span(NamedTuple):
    """A text in one style: none, or `dim`, `bold`, `reverse`, `good`, `warn`, `mark`."""

    text: str
    style: str = ""


Line = Sequence[Span]


class Given(NamedTuple):
    """What a page is made of, besides the picture."""

    rows: Sequence[Row]
    chosen: int
    address: str
    registry: str
    message: str
    now: float


class _Column(NamedTuple):
    """A column of models. Those of low `rank` stay when it becomes narrow; numbers stand to the right."""

    title: str
    field: str
    rank: int
    number: bool = False


_COLUMNS = (
    _Column("MODEL", "model", 0),
    _Column("STATE", "state", 1),
    _Column("MEMORY", "memory", 2, number=True),
    _Column("REQUESTS", "requests", 3, number=True),
    _Column("WAITING", "waiting", 5, number=True),
    _Column("CONTEXT", "context", 6, number=True),
    _Column("UNTIL", "until", 4),
    _Column("ENGINE", "engine", 7),
)
_STATES = {"busy": "good", "loading": "warn", "idle": "dim", "asleep": "dim"}


def lay_out(picture: Picture, rates: Rates | None, given: Given, width: int, height: int) -> list[Line]:
    """Fill a page: exactly `height` lines, none wider than `width`. Without rates nothing is said of them."""
    roomy = height >= _ROOMY
    head = _head(picture, rates, given, width)
    if height < _SHORT:
        head = head[:1]
    last = _last(picture, given)
    left = height - len(head) - 1
    parts = [_models(given, width, max(2, left * 6 // 10))]
    if lines := queue_lines(picture, given.registry):
        shown = (
            lines
            if len(lines) <= height // 4
            else [*lines[: height // 4], f"… and {len(lines) - height // 4} more"]
        )
        parts.append([[Span("QUEUE", "dim")], *([Span(line)] for line in shown)])
    body: list[Line] = []
    for part in parts:
        body += [[], *part] if roomy else part
    events = event_lines(picture, given.registry)
    room = left - len(body) - (2 if roomy else 1)
    if events and room > 0:
        body += [*([[]] if roomy else []), [Span("EVENTS", "dim")], *([Span(line)] for line in events[:room])]
    page = [*head, *body][: height - 1]
    page += [[]] * (height - 1 - len(page))
    return [_cropped(line, width) for line in [*page, last]]


def _head(picture: Picture, rates: Rates | None, given: Given, width: int) -> list[Line]:
    version = f" · {picture.version}" if picture.version else ""
    used, total, places = memory_of(picture), picture.capacity, picture.places
    memory: list[Span] = [Span("memory".ljust(_LABEL), "dim")]
    if total:
        bar = min(_BAR, max(0, width - 50))
        filled = min(bar, -(-bar * used // total))
        memory += [Span("━" * filled, "mark"), Span("─" * (bar - filled), "dim"), Span(" " if bar else "")]
    memory.append(Span(f"{size(used)} of {size(total)}" if total else size(used)))
    memory.append(Span(f" · {len(picture.running)} of {places} places" if places else ""))
    head: list[Line] = [[Span("dmr top", "bold"), Span(f" · {given.address}{version}", "dim")], memory]
    return [*head, _rate(rates, given.now, width)] if rates else head


def _rate(rates: Rates, now: float, width: int) -> Line:
    speed = f"{rates.tokens(now):.1f} tokens/s · {rates.requests(now):.1f} requests/s"
    bars = min(_BARS, width - _LABEL - len(speed) - 2)
    bars = bars if bars >= _FEWEST else 0
    drawn = sparkline(rates.tokens_over_time(now, bars, _STEP))
    return [Span("rate".ljust(_LABEL), "dim"), Span(drawn, "mark"), Span(f"{'  ' if bars else ''}{speed}")]


def _models(given: Given, width: int, most: int) -> list[Line]:
    """The table, and of a long one the part around the row that is chosen."""
    if not given.rows:
        return [[Span("No models are in memory.", "dim")]]
    columns, widths = _chosen_columns(given.rows, width)
    first = max(0, min(given.chosen - (most - 1) // 2, len(given.rows) - (most - 1)))
    lines: list[Line] = [
        [Span(_GAP.join(_aligned(column.title, column, widths) for column in columns), "dim")]
    ]
    for place, row in list(enumerate(given.rows))[first : first + most - 1]:
        spans = [
            Span(
                _aligned(getattr(row, column.field), column, widths) + _GAP,
                _STATES.get(row.state, "") if column.field == "state" else "",
            )
            for column in columns
        ]
        if place == given.chosen:
            spans = [Span("".join(span.text for span in spans).rstrip(), "reverse")]
        lines.append(spans)
    return lines


def _chosen_columns(rows: Sequence[Row], width: int) -> tuple[list[_Column], dict[str, int]]:
    """Choose the columns that fit, and how wide each is; the first one is always there."""
    widths = {
        column.field: max(len(column.title), *(width_of(getattr(row, column.field)) for row in rows))
        for column in _COLUMNS
    }
    widths["model"] = min(widths["model"], max(_LEAST, width - widths["state"] - len(_GAP)))
    kept: set[str] = set()
    left = width + len(_GAP)
    for column in sorted(_COLUMNS, key=lambda column: column.rank):
        left -= widths[column.field] + len(_GAP)
        if left < 0 and kept:
            break
        kept.add(column.field)
    return [column for column in _COLUMNS if column.field in kept], widths


def _aligned(text: str, column: _Column, widths: dict[str, int]) -> str:
    text = crop(text, widths[column.field])
    padding = " " * (widths[column.field] - width_of(text))
    return padding + text if column.number else text + padding


def _last(picture: Picture, given: Given) -> Line:
    if wrong := trouble(picture):
        return [Span(wrong, "warn")]
    return [Span(given.message)] if given.message else [Span(_KEYS, "dim")]


def _cropped(line: Line, width: int) -> Line:
    left = width
    spans: list[Span] = []
    for span in line:
        if left <= 0:
            break
        text = crop(span.text, left)
        left -= width_of(text)
        spans.append(Span(text, span.style))
    return spans
