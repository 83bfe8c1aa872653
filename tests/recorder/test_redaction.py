"""Rules: where they come from, and that a quick look for their signs misses nothing that they would find."""

import re
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.recorder.redaction import SETS, Rules, rules_of

SECRETS = [
    "sk-" + "a1" * 12,
    "sk-ant-" + "b2" * 12,
    "hf_" + "C" * 34,
    *(f"gh{kind}_" + "D" * 36 for kind in "pousr"),
    "github_pat_" + "e" * 22,
    "glpat-" + "f" * 20,
    "AKIA" + "G" * 16,
    "ASIA" + "H" * 16,
    "AIza" + "i" * 35,
    *(f"xox{kind}-" + "1" * 12 for kind in "abprs"),
    "dckr_pat_" + "j" * 20,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xyz.c2lnbmF0dXJl",
    "BeArEr " + "k" * 20,
    "AUTHORIZATION: BASIC " + "l" * 8,
    "redis://:hunter2@cache",
    "-----BEGIN EC PRIVATE KEY-----\nm\n-----END EC PRIVATE KEY-----",
    "ada@example.org",
    "4111-1111-1111-1111",
    "+4917012345678",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_every_form_of_a_secret_is_found_by_its_signs(secret: str) -> None:
    rules = rules_of(SETS, None)
    text = f"before {secret} after"
    by_expression = text
    for name, pattern in rules:
        by_expression = re.sub(pattern, f"[redacted {name}]", by_expression)

    kept, count = Rules(rules).apply(text)

    assert by_expression == kept
    assert count > 0
    assert secret not in kept


def test_a_rule_of_the_users_is_always_tried_also_under_a_name_of_ours() -> None:
    assert ("a [redacted key]", 1) == Rules([("key", "secret-[0-9]+")]).apply("a secret-42")


def test_a_short_text_without_a_secret_is_not_looked_at_again() -> None:
    rules = Rules(rules_of(["secrets"], None))

    assert ("temperature", 0) == rules.apply("temperature")
    assert {"temperature"} == rules.harmless


def test_rules_of_a_file_have_names_and_may_have_comments(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text("# ours\n\nticket: T-[0-9]+\n[A-Z]{9}\n")

    assert [("ticket", "T-[0-9]+"), ("rule", "[A-Z]{9}")] == rules_of(["none"], file)


@pytest.mark.parametrize(
    ("sets", "lines", "said"),
    [
        (["nonsense"], "", "unknown rules in DMR_REDACT: `nonsense`"),
        ([], "fine\n(", "line 2 of"),
        ([], "x\n" * 201, "too many rules"),
        ([], None, "cannot read the rules"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(
    tmp_path: Path, sets: list[str], lines: str | None, said: str
) -> None:
    file = tmp_path / "rules"
    if lines is not None:
        file.write_text(lines)

    with pytest.raises(InvalidRequest, match=re.escape(said)):
        rules_of(sets, file)
