"""The part of Go's text templates in which prompts are written for Ollama, read; `go_rendering` fills it in.

    {{ if .System }}<|system|>{{ .System }}{{ end }}{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}

Known are text, fields, variables, `if`, `range`, `with`, pipelines and the functions that prompts use; no
definitions, and no methods. A template is data from outside: whatever it does not know is refused.
Source: the Go standard library, text/template; Ollama, template/template.go, for `json` and the fields.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from modelrunner.errors import InvalidRequest

MOST_CHARACTERS = 256 * 1024
_MOST_DEPTH = 50
_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(/\*.*?\*/|.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r'\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(-?\d+(?:\.\d+)?)|(\$?[A-Za-z_]\w*|\$)|(:=|[=|(),])|((?:\.[A-Za-z_]\w*)+|\.))'
)
FUNCTIONS = frozenset(
    {"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice"}
    | {"json", "toJson", "print", "currentDate"}
)
_WORDS = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Text:
    """Words that stand as they are."""

    words: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A value."""

    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """What is found by names: from the dot, or from a variable (`$` is where all began)."""

    variable: str | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Of:
    """What is found by names from a value."""

    value: "Expression"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Print:
    """A value that is written."""

    value: "Expression"


@dataclass(frozen=True, slots=True)
class Assign:
    """A variable gets a value; `declares` in the block it stands in."""

    variable: str
    value: "Expression"
    declares: bool


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `range` or `with`, by `kind`; `variables` are those that a range declares."""

    kind: str
    value: "Expression"
    variables: tuple[str, ...]
    body: tuple["Node", ...]
    otherwise: tuple["Node", ...] = ()


Expression = Literal | Field | Call | Of
Node = Text | Print | Assign | Block


def parse(template: str) -> tuple[Node, ...]:
    """Read a template.

    Raises:
        InvalidRequest: it is too long, has no end somewhere, or has something that is not known here.
    """
    if len(template) > MOST_CHARACTERS:
        raise invalid(f"it has {len(template)} characters, and at most {MOST_CHARACTERS} are allowed")
    return _Reader(list(_pieces(template))).nodes(0, ())[0]


def _pieces(template: str) -> Iterator[tuple[bool, str]]:
    """Cut into texts and actions (True), with the white space gone that the actions take away."""
    position, trims = 0, False
    for match in _ACTION.finditer(template):
        text = template[position : match.start()]
        text = text.lstrip() if trims else text
        yield False, text.rstrip() if match[1] else text
        yield True, match[2]
        position, trims = match.end(), bool(match[3])
    rest = template[position:]
    if "{{" in rest:
        raise invalid("an action without end")
    yield False, rest.lstrip() if trims else rest


class _Reader:
    """Reads nodes from the pieces of a template."""

    def __init__(self, pieces: Sequence[tuple[bool, str]]) -> None:
        self._pieces = pieces
        self._position = 0

    def nodes(self, depth: int, ends: tuple[str, ...]) -> tuple[tuple[Node, ...], str]:
        """Read up to one of the words that end a block; that word is returned too."""
        if depth > _MOST_DEPTH:
            raise invalid("it is nested too deeply")
        found: list[Node] = []
        while self._position < len(self._pieces):
            is_action, text = self._pieces[self._position]
            self._position += 1
            if not is_action:
                found += [Text(text)] if text else []
                continue
            if text.startswith("/*") or not text:
                continue
            word, _, rest = text.partition(" ")
            if word in {"end", "else"}:
                if word not in ends:
                    raise invalid(f"`{word}` has nothing to end")
                return tuple(found), text
            if word in {"if", "range", "with"}:
                found.append(self._block(word, rest, depth))
            else:
                found.append(_statement(text))
        if ends:
            raise invalid("a block has no `end`")
        return tuple(found), ""

    def _block(self, kind: str, rest: str, depth: int) -> Block:
        variables, value = _range_value(rest) if kind == "range" else ((), _expression(rest))
        body, end = self.nodes(depth + 1, ("end", "else"))
        otherwise: tuple[Node, ...] = ()
        if end != "end":
            again = end.removeprefix("else").strip()
            word, _, condition = again.partition(" ")
            if word in {"if", "with"}:
                otherwise = (self._block(word, condition, depth + 1),)
            elif again:
                raise invalid(f"`{end[:50]}` is not known")
            else:
                otherwise, end = self.nodes(depth + 1, ("end",))
        return Block(kind, value, variables, body, otherwise)


def _statement(text: str) -> Print | Assign:
    match = re.match(r"\$(\w+)\s*(:?=)\s*(.*)", text, re.DOTALL)
    if match:
        return Assign(match[1], _expression(match[3]), declares=match[2] == ":=")
    return Print(_expression(text))


def _range_value(text: str) -> tuple[tuple[str, ...], Expression]:
    match = re.match(r"\$(\w+)\s*(?:,\s*\$(\w+)\s*)?:=\s*(.*)", text, re.DOTALL)
    if match is None:
        return (), _expression(text)
    return tuple(name for name in (match[1], match[2]) if name), _expression(match[3])


def _expression(text: str) -> Expression:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise invalid(f"`{text[position:][:50]}` is not known")
        tokens.append((("text", "number", "name", "sign", "field")[(match.lastindex or 1) - 1], match[0]))
        position = match.end()
    value, rest = _pipeline(tokens, 0)
    if rest != len(tokens):
        raise invalid(f"`{text[:50]}` is not known")
    return value


def _pipeline(tokens: Sequence[tuple[str, str]], position: int) -> tuple[Expression, int]:
    """Read commands joined by `|`: each gets the value of the one before as its last argument."""
    value: Expression | None = None
    while True:
        name: str | None = None
        operands: list[Expression] = []
        first = True
        while position < len(tokens) and tokens[position][1].strip() not in {"|", ")"}:
            kind, raw = tokens[position]
            if first and kind == "name" and not raw.strip().startswith("$") and raw.strip() not in _WORDS:
                name, position = raw.strip(), position + 1
                _known(name)
            else:
                operand, position = _operand(tokens, position)
                operands.append(operand)
            first = False
        if value is not None:
            operands.append(value)
        if name is not None:
            value = Call(name, tuple(operands))
        elif len(operands) == 1:
            value = operands[0]
        else:
            raise invalid("a value is expected")
        if position >= len(tokens) or tokens[position][1].strip() == ")":
            return value, position
        position += 1


def _operand(tokens: Sequence[tuple[str, str]], position: int) -> tuple[Expression, int]:
    kind, raw = tokens[position]
    word = raw.strip()
    position += 1
    value: Expression
    if kind == "text":
        value = Literal(word[1:-1] if word.startswith("`") else _unquoted(word))
    elif kind == "number":
        value = Literal(float(word) if "." in word else int(word))
    elif kind == "field":
        return Field(None, _names(word)), position
    elif kind == "name" and word.startswith("$"):
        names: tuple[str, ...] = ()
        follower, text = tokens[position] if position < len(tokens) else ("", "")
        if follower == "field" and not text.startswith(" "):
            names, position = _names(text), position + 1
        return Field(word[1:], names), position
    elif word in _WORDS:
        value = Literal(_WORDS[word])
    elif word == "(":
        value, position = _pipeline(tokens, position)
        if position >= len(tokens):
            raise invalid("a bracket is not closed")
        position += 1
        follower, text = tokens[position] if position < len(tokens) else ("", "")
        if follower == "field" and not text.startswith(" "):
            value, position = Of(value, _names(text)), position + 1
    else:
        raise invalid(f"`{word[:50]}` is not known")
    return value, position


def _names(word: str) -> tuple[str, ...]:
    return tuple(name for name in word.strip().split(".") if name)


def _unquoted(word: str) -> str:
    try:
        text: str = msgspec.json.decode(word, type=str)
    except msgspec.MsgspecError as exc:
        raise invalid(f"`{word[:50]}` is no text") from exc
    return text


def _known(name: str) -> None:
    if name not in FUNCTIONS:
        raise invalid(f"the function `{name[:50]}` is not known")


def invalid(why: str) -> InvalidRequest:
    """Say what is wrong with a template."""
    return InvalidRequest(f"invalid template: {why}", hint="see the documentation of Go's text/template")
