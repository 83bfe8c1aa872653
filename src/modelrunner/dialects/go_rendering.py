"""Go's text templates, filled in: what `go_template` has read, with values.

Source: the Go standard library, text/template, "Actions" and "Functions".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelrunner.dialects.go_template import (
    Assign,
    Block,
    Call,
    Expression,
    Field,
    Literal,
    Node,
    Of,
    Print,
    Text,
    invalid,
    parse,
)

_MOST_STEPS = 200_000  # of one rendering, nested loops included
_MOST_WRITTEN = 16 << 20  # characters


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template in.

    Raises:
        InvalidRequest: as `parse` does; or it has a type error in it, or takes too long.
    """
    return _Rendering(values).run(parse(template))


@dataclass(slots=True)
class _Rendering:
    """One rendering: the dot, the variables of each open block, and how many steps are left."""

    root: Any
    scopes: list[dict[str, Any]] = field(default_factory=list)
    left: int = _MOST_STEPS
    room: int = _MOST_WRITTEN

    def run(self, nodes: Sequence[Node]) -> str:
        self.scopes.append({"": self.root})
        words: list[str] = []
        self._write(nodes, self.root, words)
        return "".join(words)

    def _write(self, nodes: Sequence[Node], dot: Any, words: list[str]) -> None:
        for node in nodes:
            self._step()
            match node:
                case Text():
                    self._say(node.words, words)
                case Print():
                    self._say(written(self._value(node.value, dot)), words)
                case Assign():
                    self._assign(node, self._value(node.value, dot))
                case Block():
                    self._block(node, dot, words)

    def _block(self, block: Block, dot: Any, words: list[str]) -> None:
        value = self._value(block.value, dot)
        if not value:
            self._scoped(block.otherwise, dot, words, {})
        elif block.kind == "range":
            for place, item in enumerate(value if isinstance(value, list | tuple) else [value]):
                pair = (place, item) if len(block.variables) == 2 else (item,)
                variables = dict(zip(block.variables, pair, strict=False))
                self._scoped(block.body, item, words, variables)
        else:
            self._scoped(block.body, value if block.kind == "with" else dot, words, {})

    def _scoped(self, nodes: Sequence[Node], dot: Any, words: list[str], variables: dict[str, Any]) -> None:
        self.scopes.append(variables)
        self._write(nodes, dot, words)
        self.scopes.pop()

    def _assign(self, node: Assign, value: Any) -> None:
        places = [self.scopes[-1]]
        if not node.declares:
            places = [scope for scope in self.scopes if node.variable in scope]
        if not places:
            raise invalid(f"the variable `${node.variable}` is not declared")
        places[-1][node.variable] = value

    def _value(self, node: Expression, dot: Any) -> Any:
        self._step()
        match node:
            case Literal():
                return node.value
            case Field():
                value = dot if node.variable is None else self._variable(node.variable)
                return _found(value, node.names)
            case Of():
                return _found(self._value(node.value, dot), node.names)
            case Call(name="and" | "or"):
                value = None
                for argument in node.arguments:
                    value = self._value(argument, dot)
                    if bool(value) == (node.name == "or"):
                        break
                return value
            case Call():
                given = [self._value(argument, dot) for argument in node.arguments]
                try:
                    return _FUNCTIONS[node.name](*given)
                except (TypeError, IndexError, KeyError, ValueError) as exc:
                    raise invalid(f"`{node.name}` cannot be called with these values") from exc

    def _variable(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        raise invalid(f"the variable `${name}` is not declared")

    def _say(self, text: str, words: list[str]) -> None:
        self.room -= len(text)
        if self.room < 0:
            raise invalid("it writes too much")
        words.append(text)

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise invalid("it takes too long")


def _found(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def written(value: Any) -> str:
    """Write a value as Go prints it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
    return to_json(value)


def to_json(value: Any) -> str:
    """Write a value as JSON."""
    return msgspec.json.encode(value).decode()


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value[int(key)] if isinstance(value, list | tuple | str) else value.get(key)
    return value


def _slice(value: Any, *bounds: int) -> Any:
    start, stop = (*bounds, None, None)[:2]
    return value[start:stop]


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": _equal,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "not": lambda value: not value,
    "len": lambda value: len(value or ()),
    "index": _index,
    "slice": _slice,
    "json": to_json,
    "toJson": to_json,
    "print": lambda *values: "".join(map(written, values)),
    "currentDate": lambda: "",
}
