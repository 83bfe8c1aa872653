"""Ollama's templates do in Jinja what they do in Go."""

from typing import Any

import jinja2
import pytest

from modelrunner.dialects.go_jinja import to_jinja
from modelrunner.errors import InvalidRequest

SYSTEM = {"role": "system", "content": "be"}
USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "yes"}
CHATML = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
MODERN = """
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

LONG = (
    "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
)


def rendered(template: str, messages: list[dict[str, Any]], **more: Any) -> str:
    # As llama.cpp sets it: these two would change text outside of expressions.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(to_jinja(template)).render(messages=messages, **more)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            [SYSTEM, USER],
            "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            [SYSTEM, USER, ASSISTANT, USER],
            LONG,
        ),
        ([USER, ASSISTANT], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes"),
    ],
)
def test_an_exchange_is_repeated_for_each_of_a_chat(messages: list[dict[str, Any]], expected: str) -> None:
    """The last one ends where the answer begins, or goes on."""
    assert expected == rendered(CHATML, messages)


def test_a_condition_around_the_answer_is_cut_in_it() -> None:
    """What stands before the answer stays."""
    template = "{{ .Prompt }}{{ if .System }}[{{ .System }}]{{ .Response }}tail{{ end }}"

    assert "hi[be]" == rendered(template, [SYSTEM, USER])


def test_messages_are_gone_through() -> None:
    """With tools, calls and results, as the families of models have it."""
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    messages: list[dict[str, Any]] = [
        SYSTEM,
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42"},
    ]
    tool = {"type": "function", "function": {"name": "f"}}

    assert (
        '<|im_start|>system\nbe\n<tools>\n{"type": "function", "function": {"name": "f"}}\n</tools>'
        "<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n42\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    ) == rendered(MODERN, messages, tools=[tool])
    assert "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n" == rendered(MODERN, [USER])


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ range .Messages }}{{ if .Thinking }}({{ .Thinking }}){{ end }}{{ end }}", "(hm)"),
        ("{{ range .Messages }}{{ with .Content }}{{ . }}{{ end }}{{ end }}", "it's {{ \\n"),
        ("{{ $n := 0 }}{{ range .Messages }}{{ $n = len .Content }}{{ end }}{{ $n }}", "10"),
        (
            "{{ range .Messages }}{{ json . }}{{ end }}",
            '{"content": "it\\u0027s {{ \\\\n", "reasoning_content": "hm", "role": "user"}',
        ),
        ("{{ range $i, $m := .Messages }}{{ $i }}{{ index $.Messages 0 | len }}{{ end }}", "03"),
        ("{{ if .Messages }}it's '{{ print .System \"{%\" }}'{{ end }}", "it's '{%'"),
    ],
)
def test_actions_are_turned(template: str, expected: str) -> None:
    """Whatever the texts are, they stay texts."""
    message = {"role": "user", "content": "it's {{ \\n", "reasoning_content": "hm"}

    assert expected == rendered(template, [message])


@pytest.mark.parametrize(
    "template", ["{{ .Unknown }}", "{{ range .Messages }}{{ .Unknown }}{{ end }}", "{{ . }}"]
)
def test_fields_that_are_not_known_are_refused(template: str) -> None:
    """A template that would say something else is none."""
    with pytest.raises(InvalidRequest, match="not known"):
        to_jinja(template)
