"""What the scheduler did and would do, in plain sentences. Pure: from facts with names to words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from modelrunner.runtime.events import Kind
from modelrunner.runtime.scheduling.ledger import PLACE
from modelrunner.runtime.scheduling.plan import Reason, State, Why
from modelrunner.units import format_age, format_bytes, parse_keep_alive
from modelrunner.wire.insight import EventView, Facts, FailuresReply, LoadedModel

_MEMORY = {"ram": "memory"}
_WORDS: Mapping[Kind, str] = {
    Kind.WAITING: "waits",
    Kind.STARTING: "loading",
    Kind.DOZING: "falling asleep",
    Kind.WAKING: "waking",
    Kind.STOPPING: "unloading",
    Kind.GONE: "unloaded",
}
_SLEEPY: Mapping[str, str] = {
    State.DOZING: "is falling asleep",
    State.ASLEEP: "is asleep: it has given its place back, and wakes faster than it loads",
    State.WAKING: "is being woken",
}
_BY_ITSELF = frozenset({Reason.CRASHED, Reason.FAILED})


def what_happened(kind: Kind, reason: Reason | Why, detail: str, others: Sequence[str]) -> str:
    """Say what happened to a model, and why, after its name: `unloaded: another model needs its place`."""
    why = f"{reason.text}{_for(others)}"
    match kind:
        case Kind.REFUSED:
            return f"refused: {_first_line(detail) or why}"
        case Kind.READY:
            return f"ready after {detail}" if detail else "ready"
        case Kind.ASLEEP:
            return "asleep"
        case Kind.GONE if reason is Reason.CRASHED:
            return f"crashed: {_last_words(detail) or why}"
        case Kind.GONE if reason is Reason.FAILED:
            return f"could not be loaded: {_first_line(detail) or why}"
        case _:
            return f"{_WORDS[kind]}: {why}"


def explain(facts: Facts, now: datetime) -> list[str]:
    """Say what becomes of a request for a model: what it is doing, what it needs, and what stands against it.

    `now` is when the facts were taken, in UTC.
    """
    return [
        *_state(facts, now),
        *_need(facts),
        *(sentence for name in facts["need"] for sentence in _room(facts, name)),
        *_failures(facts["failures"]),
        *_queue(facts),
        *_outcome(facts),
    ]


def _state(facts: Facts, now: datetime) -> Iterator[str]:
    name = _called(facts["model"])
    me = next((each for each in facts["loaded"] if _is(each, facts)), None)
    if me is None:
        yield f"{name} is not loaded."
        yield from _end(facts["events"], now)
    elif facts["state"] == State.STARTING:
        yield f"{name} is being loaded."
    elif facts["state"] in _SLEEPY:
        yield f"{name} {_SLEEPY[facts['state']]}."
    elif facts["state"] == State.STOPPING:
        yield f"{name} is being unloaded."
    elif me["requests"]:
        yield f"{name} is loaded, and {_requests(me['requests'])} in flight."
    else:
        yield f"{name} is loaded, and idle for {_age(me)}; {_stays(me)}."


def _end(events: Sequence[EventView], now: datetime) -> Iterator[str]:
    """Why it is not here any more, if that is remembered."""
    event = next((event for event in reversed(events) if event["kind"] == Kind.GONE), None)
    if event is not None:
        ago = (now - datetime.fromisoformat(event["at"])).total_seconds()
        what, _, why = event["text"].partition(": ")
        auxiliary = "" if event["reason"] in _BY_ITSELF else "was "
        yield f"It {auxiliary}{what} {format_age(max(0.0, ago)).lower()} ago: {why}."


def _stays(me: LoadedModel) -> str:
    if me["pinned"]:
        return "it is pinned and stays"
    keep_alive = parse_keep_alive(me["keep_alive"])
    if keep_alive is None:
        return "it stays until another model needs its room"
    left = keep_alive - (me["idle"] or 0.0)
    return f"it is unloaded in {format_age(max(0.0, left)).lower()} if nobody asks for it"


def _need(facts: Facts) -> Iterator[str]:
    amounts = {name: amount for name, amount in facts["need"].items() if name != PLACE}
    if not amounts:
        if facts["need"]:
            yield "How much memory it needs is not known."
        return
    parts = [f"{format_bytes(amount)} for {name}" for name, amount in facts["parts"].items() if amount]
    detail = f": {', '.join(parts)}" if parts else ""
    spare = sum(facts["parts"].values()) - sum(amounts.values())
    if spare > 0:
        detail += f"; {format_bytes(spare)} of that the system can take back"
    yield f"It needs {_and(f'{format_bytes(n)} of {_device(name)}' for name, n in amounts.items())}{detail}."


def _room(facts: Facts, name: str) -> Iterator[str]:
    """How much there is of one thing that the model needs, and who has it."""
    if name not in facts["capacity"]:
        return
    if name == PLACE:
        taken = [_called(each["model"]) for each in facts["loaded"] if each["state"] != State.ASLEEP]
        holders = f": {_and(taken)}" if taken else ""
        count = facts["capacity"][name]
        places = "1 place" if count == 1 else f"{count} places"
        yield f"Of {places} for models, {len(taken) or 'none'} {_is_or_are(len(taken))} taken{holders}."
        return
    holders = _and(
        f"{_called(each['model'])} ({format_bytes(each['memory'][name])})"
        for each in facts["loaded"]
        if each["memory"].get(name)
    )
    promised = sum(each["memory"].get(name, 0) for each in facts["loaded"])
    sentence = f"Of {format_bytes(facts['capacity'][name])} of {_device(name)}, "
    sentence += f"{format_bytes(promised)} are promised to {holders}" if holders else "nothing is promised"
    free = facts["free"].get(name)
    yield f"{sentence}, and {format_bytes(free)} are free now." if free is not None else f"{sentence}."


def _failures(failures: FailuresReply | None) -> Iterator[str]:
    if failures is None:
        return
    times = "once" if failures["count"] == 1 else f"{failures['count']} times in a row"
    yield f"It failed {times}, last with: {_first_line(failures['words']) or 'nothing said'}."
    if failures["refusing"]:
        yield (
            f"Requests are refused for {format_age(failures['pause']).lower()}; `dmr unload` or "
            "`dmr configure` lets it be tried at once."
        )


def _queue(facts: Facts) -> Iterator[str]:
    if facts["waiting"]:
        first = facts["waiting"][0]
        count = len(facts["waiting"])
        yield (
            f"{count} {'request waits' if count == 1 else 'requests wait'} for it, the first for "
            f"{format_age(first['waited']).lower()}, at place {first['position']} of the line: "
            f"{first['text']}{_for(first['others'])}."
        )


def _outcome(facts: Facts) -> Iterator[str]:
    """What would become of a request that came now."""
    refusal, wait = facts["refusal"], facts["wait"]
    if refusal is not None:
        yield f"A request now is refused: {refusal['message']}."
        if refusal["hint"]:
            yield f"What helps: {refusal['hint']}."
    elif facts["starts"]:
        begins = "wakes" if facts["state"] == State.ASLEEP else "loads"
        yield f"A request now {begins} it at once."
    elif facts["stops"]:
        yield from _evictions(facts)
    elif wait is not None:
        until = wait["until"]
        later = f"; that is looked at again in {format_age(until).lower()}" if until is not None else ""
        yield f"A request now waits: {wait['text']}{_for(wait['others'])}{later}."
    else:
        yield "A request now is served at once."


def _evictions(facts: Facts) -> Iterator[str]:
    by_name = {each["model"]: each for each in facts["loaded"]}
    victims = [by_name[name] for name in facts["stops"]]
    shown = _then(f"{_called(each['model'])} (idle for {_age(each)})" for each in victims)
    how = "put to sleep" if facts["sleeps"] else "unloaded"
    yield f"A request now has {shown} {how} first, one at a time and no more than needed."
    first = victims[0]
    spared = [each for each in facts["loaded"] if each not in victims and _is_spared(each, first)]
    if spared:
        others = _and(_called(each["model"]) for each in spared)
        yield (
            f"{_called(first['model'])} goes before {others} because losing it costs less, by how often it "
            f"is used and how long it loads ({first['load_time']:.1f} s)."
        )


def _is_spared(each: LoadedModel, instead: LoadedModel) -> bool:
    is_idle = each["state"] == State.READY and not each["requests"] and not each["pinned"]
    return is_idle and each["worth"] > instead["worth"]


def _is(each: LoadedModel, facts: Facts) -> bool:
    return (each["model"], each["mode"]) == (facts["model"], facts["mode"])


def _age(each: LoadedModel) -> str:
    return format_age(each["idle"] or 0.0).lower()


def _requests(count: int) -> str:
    return f"{count} {'request' if count == 1 else 'requests'} {_is_or_are(count)}"


def _is_or_are(count: int) -> str:
    return "is" if count <= 1 else "are"


def _device(name: str) -> str:
    return _MEMORY.get(name, f"`{name}`")


def _called(name: str) -> str:
    return f"`{name.removesuffix(':latest')}`"


def _for(others: Iterable[str]) -> str:
    names = _and(map(_called, others))
    return f" ({names})" if names else ""


def _and(words: Iterable[str]) -> str:
    *most, last = [*words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _then(words: Iterable[str]) -> str:
    return ", then ".join(words)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".: ")


def _last_words(text: str) -> str:
    """The cause, which is the first line, and what the engine said last."""
    first, last = _first_line(text), text.strip().rpartition("\n")[2]
    return f"{first}; its last words: {last}" if "\n" in text.strip() else first
