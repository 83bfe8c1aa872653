"""What engines say at `/metrics`, joined to one text: samples get labels, families their head once. Pure.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

import re
from collections.abc import Iterable, Mapping

from modelrunner.telemetry.metrics import escaped

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HEAD = re.compile(rf"#\s+(HELP|TYPE)\s+({_NAME})(?:\s+(.*))?")
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")'
_BARE_LABEL = re.sub(r"\((?!\?)", "(?:", _LABEL)
_SAMPLE = re.compile(
    rf"({_NAME})\s*(\{{\s*(?:{_BARE_LABEL}\s*(?:,\s*{_BARE_LABEL}\s*)*,?\s*)?\}})?\s+(\S+)(\s+-?\d+)?\s*"
)
_PAIRS = re.compile(_LABEL)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf|nan)", re.IGNORECASE)
_KINDS = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_ENDINGS = ("_bucket", "_count", "_sum")
_OURS = ("modelrunner_", "process_")  # of which one text may have a head only once


class _Family:
    """A family as the first engine describes it, and the samples of all."""

    def __init__(self) -> None:
        self.help = ""
        self.kind = ""
        self.samples: list[str] = []


def joined(texts: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Join texts, each with the labels that its samples get; what is no sample is left out."""
    families: dict[str, _Family] = {}
    for text, labels in texts:
        added = {name: f'"{escaped(value)}"' for name, value in labels.items()}
        kinds: dict[str, str] = {}
        for raw in text.splitlines():
            line = raw.strip()
            if match := _HEAD.fullmatch(line):
                _describe(families.setdefault(match[2], _Family()), match, kinds)
            elif (match := _SAMPLE.fullmatch(line)) and not match[1].startswith(_OURS):
                name = _family_of(match[1], kinds)
                own = dict(_PAIRS.findall(match[2] or ""))
                if _NUMBER.fullmatch(match[3]):
                    every = {**own, **added}
                    told = ",".join(f"{label}={value}" for label, value in every.items())
                    sample = f"{match[1]}{{{told}}} {match[3]}{match[4] or ''}\n"
                    families.setdefault(name, _Family()).samples.append(sample)
    return "".join(_lines(families))


def _describe(family: _Family, match: re.Match[str], kinds: dict[str, str]) -> None:
    value = (match[3] or "").strip()
    if match[1] == "HELP":
        family.help = family.help or value
    elif value in _KINDS:
        kinds[match[2]] = value
        family.kind = family.kind or value


def _family_of(sample: str, kinds: Mapping[str, str]) -> str:
    """The family of a sample: its name, or that without the ending which histograms and summaries add."""
    for ending in _ENDINGS:
        base = sample.removesuffix(ending)
        if base != sample and kinds.get(base) in {"histogram", "summary"}:
            return base
    return sample


def _lines(families: Mapping[str, _Family]) -> Iterable[str]:
    for name, family in families.items():
        if not family.samples:
            continue
        if family.help:
            yield f"# HELP {name} {family.help}\n"
        if family.kind:
            yield f"# TYPE {name} {family.kind}\n"
        yield from family.samples
