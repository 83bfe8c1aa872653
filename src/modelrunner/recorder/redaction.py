"""Rules by which what must not be kept is found in prompts and answers: some of our own, and the user's.

A rule is a regular expression. It runs in the recorder's process, where a slow one delays nothing else.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from modelrunner.errors import InvalidRequest

Pattern = tuple[str, str]  # what the rule is called, and its expression

# Sources: the forms that GitHub, GitLab, Hugging Face, OpenAI, Anthropic, AWS, Google and Slack document for
# their tokens; RFC 7519 for JSON web tokens; RFC 7468 for keys.
_KEYS = (
    r"\b(?:sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_\w{22,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[\w-]{35}"
    r"|xox[abprs]-[\w-]{10,}|dckr_pat_[\w-]{20,})"
)
SETS: Mapping[str, tuple[Pattern, ...]] = {
    "secrets": (
        (
            "key",
            _KEYS,
        ),
        # What a rule begins with is a plain text, where it can be: it is found quickly. The token begins a
        # word: of "eyJ-eyJ-eyJ-" each would be a beginning else, and each would be read to the end.
        ("token", r"eyJ(?<![\w-]eyJ)[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
        ("bearer", r"(?i:bearer)\s+[A-Za-z0-9._~+/-]{16,}=*"),
        (
            "password",
            r"(?i:authorization)[\"']?\s{0,5}[:=]\s{0,5}[\"']?(?i:basic)\s{1,5}[A-Za-z0-9+/]{4,}={0,2}",
        ),
        ("password", r"(?<=://)[^\s/:@\"'<>]{0,100}:[^\s/@\"'<>]{1,200}(?=@)"),
        (
            "private key",  # also one that was cut off; what lies between has no other beginning in it
            (
                r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
                r"(?:(?:[^-]|-(?!----(?:BEGIN|END)))*+-----END [A-Z ]*PRIVATE KEY-----"
                r"|(?:\s*[A-Za-z0-9+/=]{40,})*+)"
            ),
        ),
    ),
    "emails": (("email", r"\b[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),),
    "cards": (("card", r"\b(?:\d[ -]?){13,18}\d\b"),),
    "phones": (("phone", r"(?<![\w.])\+\d(?:[ ()-]{0,2}\d){7,14}\b"),),
}
# What a text has in lower case, one of them, in which a rule of ours finds something. To look for a few words
# is much less than to try an expression at every character, and nearly no text has any of them.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    "key": (
        *("sk-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "akia", "asia"),
        *("aiza", "xox", "dckr_pat_"),
    ),
    "token": ("eyj",),
    "bearer": ("bearer",),
    "password": ("author", "://"),
    "private key": ("-----begin ",),
    "email": ("@",),
    "phone": ("+",),
}
_MOST = 200  # of the user's own
_OURS = frozenset(rule for rules in SETS.values() for rule in rules)
_SHORT = 40  # characters
_MOST_REMEMBERED = 5000


def rules_of(sets: Iterable[str], file: Path | None) -> list[Pattern]:
    """Gather the rules: those of the named sets, then one for each line of a file, `NAME: EXPRESSION`.

    Raises:
        InvalidRequest: a set is unknown, the file cannot be read, or a line is no regular expression.
    """
    rules: list[Pattern] = []
    for name in sets:
        if name == "none":
            continue
        if name not in SETS:
            raise InvalidRequest(
                f"unknown rules in DMR_REDACT: `{name}`", hint=f"there are {', '.join(SETS)}, and none"
            )
        rules += SETS[name]
    if file is not None:
        rules += _read(file)
    return rules


class Rules:
    """Rules, ready to be applied."""

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self._rules = [
            (
                f"[redacted {name}]",
                re.compile(pattern),
                _SIGNS.get(name) if (name, pattern) in _OURS else None,
            )
            for name, pattern in patterns
        ]
        self.harmless: set[str] = set()  # short texts, which come again and again: names of fields
        self._signs = {sign for *_, signs in self._rules if signs is not None for sign in signs}
        self._all_have_signs = all(signs is not None for *_, signs in self._rules)

    def find_nothing(self, lowered: str) -> bool:
        """Whether a look at a text in lower case tells that nothing in it would be replaced."""
        return self._all_have_signs and not _has_one(lowered, self._signs)

    def apply(self, text: str) -> tuple[str, int]:
        """Replace what is found; says how often."""
        if text in self.harmless:
            return text, 0
        found = 0
        lowered = text.lower()
        for mark, pattern, signs in self._rules:
            if signs is None or _has_one(lowered, signs):
                text, count = pattern.subn(mark, text)
                found += count
        if not found and len(text) <= _SHORT:
            if len(self.harmless) >= _MOST_REMEMBERED:  # of numbers and names that came once, as a rule
                self.harmless.clear()
            self.harmless.add(text)
        return text, found


def _has_one(text: str, signs: Iterable[str]) -> bool:
    for sign in signs:  # noqa: SIM110 - a generator would cost more than the search
        if sign in text:
            return True
    return False


def _read(file: Path) -> list[Pattern]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRequest(
            f"cannot read the rules in `{file}`: {exc}", hint="set DMR_REDACT_FILE to a text file"
        ) from exc
    rules: list[Pattern] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, pattern = "rule", text
        if match := re.match(r"([A-Za-z][\w -]{0,30}):\s+(.+)", text):
            name, pattern = match[1], match[2]
        try:
            re.compile(pattern)
        except re.error as exc:
            raise InvalidRequest(
                f"line {number} of `{file}` is no regular expression: {exc}", hint=f"it is `{pattern[:200]}`"
            ) from exc
        rules.append((name, pattern))
    if len(rules) > _MOST:
        raise InvalidRequest(f"too many rules in `{file}`: {len(rules)}", hint=f"at most {_MOST}")
    return rules
