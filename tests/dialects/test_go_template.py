"""Go's templates are filled in as Go does, and what is not known of them is refused."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.go_rendering import render
from modelrunner.errors import InvalidRequest

VALUES = {
    "System": "be",
    "Prompt": "hi",
    "Response": "",
    "N": 3,
    "Yes": True,
    "Messages": [{"Role": "user", "Content": "a"}, {"Role": "assistant", "Content": "b"}],
}

LAST = """{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<{{ .Role }}>{{ .Content }}{{ if $last }}.{{ end }}{{ end }}"""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain {text}", "plain {text}"),
        ("{{ .System }}|{{.Prompt}}|{{ .Absent }}", "be|hi|"),
        ("{{ if .System }}S{{ end }}{{ if .Response }}R{{ else }}-{{ end }}", "S-"),
        ("{{ if .Response }}1{{ else if .Prompt }}2{{ else }}3{{ end }}", "2"),
        ("a {{- .Prompt -}} b", "ahib"),
        ("a\n{{ .Prompt }}\nb", "a\nhi\nb"),
        ("{{/* a comment */}}x", "x"),
        ("{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}", "user=a;assistant=b;"),
        (
            "{{ range $i, $m := .Messages }}{{ $i }}{{ $m.Role }}{{ $.Prompt }} {{ end }}",
            "0userhi 1assistanthi ",
        ),
        ("{{ range $m := .Messages }}{{ $m.Content }}{{ end }}", "ab"),
        ("{{ range .Absent }}x{{ else }}none{{ end }}", "none"),
        ("{{ with .Prompt }}{{ . }}!{{ end }}", "hi!"),
        ("{{ $x := .Prompt }}{{ if true }}{{ $x = .System }}{{ end }}{{ $x }}", "be"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ if and .System (not .Response) }}y{{ end }}{{ or .Response .Prompt }}", "yhi"),
        (
            '{{ eq .Prompt "hi" }} {{ eq .N 1 2 3 }} {{ ne .N 3 }} {{ lt 1 2 }}{{ ge 1 2 }}',
            "true true false truefalse",
        ),
        ("{{ len .Messages }} {{ (index .Messages 1).Content }}", "2 b"),
        ("{{ len (slice .Messages 1) }} {{ .Prompt | len }}", "1 2"),
        ("{{ json .Messages }}", '[{"Role":"user","Content":"a"},{"Role":"assistant","Content":"b"}]'),
        ('{{ `raw "quotes"` }}{{ "a\\nb" }}', 'raw "quotes"a\nb'),
        (
            LAST,
            "<user>a<assistant>b.",
        ),
    ],
)
def test_a_template_is_filled_in(template: str, expected: str) -> None:
    """Text, conditions, loops, variables, functions, and the white space that actions take away."""
    assert expected == render(template, VALUES)


@pytest.mark.parametrize(
    "template",
    [
        "{{ .System",
        "{{ if .System }}",
        "{{ end }}",
        "{{ else }}",
        "{{ if .System }}{{ else }}{{ else }}{{ end }}",
        "{{ call .System }}",
        '{{ template "x" . }}',
        '{{ define "x" }}{{ end }}',
        "{{ .System.Method 1 2 }}",
        "{{ $x }}",
        "{{ $x = 1 }}",
        "{{ (len .System }}",
        '{{ "\\q" }}',
        "{{ index .Messages 9 }}",
        "{{ lt .System 3 }}",
        "{{ len .N }}",
        "{{ }}{{ | }}",
        "{{ if }}x{{ end }}",
        "{{ 1 2 }}",
        "{{ if .System }}" * 100 + "{{ end }}" * 100,
        "x" * 300_000,
    ],
)
def test_what_is_not_known_is_refused(template: str) -> None:
    """Never run, never guessed."""
    with pytest.raises(InvalidRequest, match="invalid template"):
        render(template, VALUES)


def test_loops_within_loops_have_an_end() -> None:
    """A small template cannot keep the daemon busy, nor fill its memory."""
    many = {"Items": list(range(1000))}
    nested = "{{ range .Items }}{{ range $.Items }}{{ . }}{{ end }}{{ end }}"
    wide = f"{{{{ range .Items }}}}{'x' * 100_000}{{{{ end }}}}"

    with pytest.raises(InvalidRequest, match="takes too long"):
        render(nested, many)
    with pytest.raises(InvalidRequest, match="writes too much"):
        render(wide, many)


@given(st.text('{}.-$|() "`ifendrange:=x1', max_size=60))
def test_any_text_is_filled_in_or_refused(template: str) -> None:
    """Nothing else ever comes of it."""
    values: dict[str, Any] = {"x": [1, {"x": "y"}]}
    with contextlib.suppress(InvalidRequest):
        assert isinstance(render(template, values), str)
