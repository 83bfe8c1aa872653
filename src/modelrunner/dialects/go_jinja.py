"""Go's text templates turned into Jinja, in which engines read chat templates.

A template that goes through `.Messages` is turned as it stands. An older one writes a single exchange of
`.System`, `.Prompt` and `.Response`; it is repeated for each exchange of a chat, the last up to its answer.
All text stands in expressions, so that no setting of the engine's about white space changes it.
Source: Ollama, template/template.go, `Execute`; Jinja, "Template Designer Documentation".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

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

# The fields of Ollama's values, by their names in the messages that engines give to templates.
_FIELDS = {
    "Role": "role",
    "Content": "content",
    "Thinking": "reasoning_content",
    "ToolCalls": "tool_calls",
    "ToolName": "name",
    "ToolCallID": "tool_call_id",
    "Function": "function",
    "Name": "name",
    "Arguments": "arguments",
    "Description": "description",
    "Parameters": "parameters",
    "Properties": "properties",
    "Required": "required",
    "Type": "type",
    "Items": "items",
    "Enum": "enum",
    "ID": "id",
}
_ROOT = {
    "System": "ns.system",
    "Prompt": "ns.prompt",
    "Response": "ns.response",
    "Suffix": "''",
    "Messages": "messages",
    "Tools": "(tools if tools is defined else [])",
    "Think": "(enable_thinking is defined and enable_thinking)",
    "IsThinkSet": "(enable_thinking is defined)",
    "ThinkLevel": "(reasoning_effort if reasoning_effort is defined else '')",
}
_OBJECTS = frozenset({"Arguments", "Parameters", "Properties", "Function", "Tools", "ToolCalls", "Required"})
_SIGNS = {"ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPENING = "{%- set ns = namespace(system='', prompt='', response='', depth=0) -%}"
_SYSTEM = (
    "{%- for m in messages -%}{%- if m.role == 'system' -%}"
    "{%- set ns.system = (ns.system ~ '\\n\\n' if ns.system else '') ~ m.content -%}"
    "{%- endif -%}{%- endfor -%}"
)


def to_jinja(template: str) -> str:
    """Turn a template.

    Raises:
        InvalidRequest: it has something in it that is not known here.
    """
    nodes = parse(template)
    turning = _Turning(nodes)
    if _mentions(nodes, "Messages"):
        return _OPENING + _SYSTEM + turning.written(nodes, "root")
    whole, last = turning.written(nodes, "root"), turning.written(_up_to_response(nodes)[0], "root")
    forget = "{%- set ns.system = '' -%}{%- set ns.prompt = '' -%}{%- set ns.response = '' -%}"
    return (
        f"{_OPENING}{{%- for m in messages -%}}"
        "{%- if m.role == 'system' -%}"
        f"{{%- if ns.prompt or ns.response -%}}{whole}{forget}{{%- endif -%}}"
        "{%- set ns.system = m.content -%}"
        "{%- elif m.role == 'user' -%}"
        f"{{%- if ns.response -%}}{whole}{forget}{{%- endif -%}}"
        "{%- set ns.prompt = m.content -%}"
        "{%- elif m.role == 'assistant' -%}{%- set ns.response = m.content -%}{%- endif -%}{%- endfor -%}"
        f"{last}{{{{- ns.response -}}}}"
    )


class _Turning:
    """Writes nodes; the dot and the variables have names of their own."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        # What is assigned anew, perhaps in an inner block, has to outlive it.
        assigned = (node for node in _walk(nodes) if isinstance(node, Assign) and not node.declares)
        self._shared = {node.variable for node in assigned}
        self._count = 0

    def written(self, nodes: Sequence[Node], dot: str) -> str:
        """Write nodes, with the dot under a name."""
        return "".join(self._node(node, dot) for node in nodes)

    def _node(self, node: Node, dot: str) -> str:
        match node:
            case Text():
                return f"{{{{- {_quoted(node.words)} -}}}}"
            case Print():
                return f"{{{{- {self._printed(node.value, dot)} -}}}}"
            case Assign():
                return f"{{%- set {self._variable(node.variable)} = {self._value(node.value, dot)} -%}}"
            case Block():
                return self._block(node, dot)

    def _block(self, block: Block, dot: str) -> str:
        value = self._value(block.value, dot)
        otherwise = self.written(block.otherwise, dot)
        otherwise = f"{{%- else -%}}{otherwise}" if otherwise else ""
        if block.kind == "if":
            return f"{{%- if {value} -%}}{self.written(block.body, dot)}{otherwise}{{%- endif -%}}"
        self._count += 1
        inner = f"dot{self._count}"
        sets = f"{{%- set {inner} = {value} -%}}"
        if block.kind == "with":
            return f"{{%- if {value} -%}}{sets}{self.written(block.body, inner)}{otherwise}{{%- endif -%}}"
        names = block.variables[-1:]
        sets = "".join(f"{{%- set {self._variable(name)} = {inner} -%}}" for name in names)
        if len(block.variables) == 2:
            sets += f"{{%- set {self._variable(block.variables[0])} = loop.index0 -%}}"
        body = self.written(block.body, inner)
        return f"{{%- for {inner} in {value} -%}}{sets}{body}{otherwise}{{%- endfor -%}}"

    def _printed(self, value: Expression, dot: str) -> str:
        """A value as it is printed: objects as JSON."""
        written = self._value(value, dot)
        if isinstance(value, Field) and ((value.names and value.names[-1] in _OBJECTS) or not value.names):
            return f"({written} if {written} is string else {written} | tojson)"
        return written

    def _value(self, node: Expression, dot: str) -> str:
        match node:
            case Literal():
                if node.value is None or isinstance(node.value, bool):
                    return {None: "none", True: "true", False: "false"}[node.value]
                return _quoted(node.value) if isinstance(node.value, str) else str(node.value)
            case Field():
                return self._field(node, dot)
            case Of():
                return _found(self._value(node.value, dot), node.names)
            case Call():
                return _called(node.name, [self._value(each, dot) for each in node.arguments])

    def _field(self, node: Field, dot: str) -> str:
        names = node.names
        base = dot
        if node.variable is not None:
            base = "root" if not node.variable else self._variable(node.variable)
        if base == "root":
            if not names or names[0] not in _ROOT:
                raise invalid(f"`.{'.'.join(names)[:50]}` is not known")
            base, names = _ROOT[names[0]], names[1:]
        return _found(base, names)

    def _variable(self, name: str) -> str:
        return f"ns.v_{name}" if name in self._shared else f"v_{name}"


def _called(name: str, values: Sequence[str]) -> str:
    """Write the call of a function; `values` are written already."""
    if name in _SIGNS and len(values) == 2:
        return f"({values[0]} {_SIGNS[name]} {values[1]})"
    if name not in _CALLS or not (values or name == "currentDate"):
        raise invalid(f"`{name}` is called with too few values")
    return _CALLS[name](list(values))


_CALLS: Mapping[str, Callable[[list[str]], str]] = {
    "and": lambda values: f"({' and '.join(values)})",
    "or": lambda values: f"({' or '.join(values)})",
    "not": lambda values: f"(not {values[0]})",
    "eq": lambda values: f"({' or '.join(f'{values[0]} == {other}' for other in values[1:])})",
    "len": lambda values: f"({values[0]} | length)",
    "index": lambda values: values[0] + "".join(f"[{key}]" for key in values[1:]),
    "slice": lambda values: f"{values[0]}[{':'.join((*values[1:], '')[:2])}]",
    "json": lambda values: f"({values[0]} | tojson)",
    "toJson": lambda values: f"({values[0]} | tojson)",
    "currentDate": lambda _: "strftime_now('%Y-%m-%d')",
    "print": lambda values: f"({' ~ '.join(values)})",
}


def _found(base: str, names: Sequence[str]) -> str:
    unknown = [name for name in names if name not in _FIELDS]
    if unknown:
        raise invalid(f"the field `.{unknown[0][:50]}` is not known")
    return ".".join((base, *(_FIELDS[name] for name in names)))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, Block):
            yield from _walk(node.body)
            yield from _walk(node.otherwise)


def _fields(value: Expression) -> Iterator[str]:
    if isinstance(value, Field):
        yield from value.names
    elif isinstance(value, Of):
        yield from (*value.names, *_fields(value.value))
    elif isinstance(value, Call):
        for argument in value.arguments:
            yield from _fields(argument)


def _mentions(nodes: Sequence[Node], name: str) -> bool:
    return any(not isinstance(node, Text) and name in _fields(node.value) for node in _walk(nodes))


def _up_to_response(nodes: Sequence[Node]) -> tuple[tuple[Node, ...], bool]:
    """Cut a template off where the answer is written; whether it was is said too."""
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Print) and "Response" in _fields(node.value):
            return tuple(kept), True
        if isinstance(node, Block) and _mentions(node.body, "Response"):
            if "Response" not in _fields(node.value):
                body, _ = _up_to_response(node.body)
                kept.append(Block(node.kind, node.value, node.variables, body, node.otherwise))
            return tuple(kept), True
        kept.append(node)
    return tuple(kept), False
