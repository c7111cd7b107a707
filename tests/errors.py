"""Every message and every hint of the errors that the package raises, read off its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raypose import errors
from tests.markdown import ROOT

PACKAGE = ROOT / "raypose"
HOLE = "…"


@dataclass(frozen=True)
class Message:
    """A message as it is written in the code.

    Attributes:
        place: file and line.
        error: name of the exception's class.
        text: the message; what is filled in stands as `…`.
    """

    place: str
    error: str
    text: str


def messages() -> list[Message]:
    """The messages of all errors and problems, but those that pass on the message of another."""
    return [
        message
        for call, position in _errors_made()
        if len(call.node.args) > position
        for message in call.read(call.node.args[position])
        if message.text.replace(HOLE, "").strip(" .:()")
    ]


def hints() -> list[Message]:
    """The hints of all errors and problems, as far as they are written in the code."""
    return [
        message
        for call, _ in _errors_made()
        for keyword in call.node.keywords
        if keyword.arg == "hint"
        for message in call.read(keyword.value)
    ]


@dataclass(frozen=True)
class _Call:
    """A call that makes an error, of the class `name`."""

    place: str
    name: str
    node: ast.Call
    scopes: tuple[ast.AST, ...]

    def read(self, argument: ast.expr) -> list[Message]:
        """What an argument can say."""
        texts = _texts(argument, self.scopes)
        return [Message(self.place, self.name, " ".join(text.split())) for text in texts]


def _errors_made() -> Iterator[tuple[_Call, int]]:
    """All calls that make an error, and the position of its message among the arguments."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for scope, node in _calls(tree):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            position = _position(name, path)
            if position is not None:
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield _Call(place, name, node, (scope, tree)), position


def _position(name: str, path: Path) -> int | None:
    """Which argument of a call is the message of an error; None if it makes no error."""
    if name in ("Problem", "Failure") or (name == "cls" and path.name == "errors.py"):
        return 1
    if name == "ValueError":  # the configs turn those into a `UsageError`
        return 0 if path.parent.name == "config" else None
    found = vars(errors).get(name)
    return 0 if isinstance(found, type) and issubclass(found, errors.RayposeError) else None


def _calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """All calls, each with the function that it stands in."""

    def visit(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        if isinstance(node, ast.FunctionDef):
            scope = node
        if isinstance(node, ast.Call):
            yield scope, node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, scope)

    return visit(tree, tree)


def _texts(node: ast.expr, scopes: tuple[ast.AST, ...]) -> list[str]:
    """What an expression of text can be; what is not written in the code is a hole."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            joined = [""]
            for part in parts:
                more = [str(part.value)] if isinstance(part, ast.Constant) else [HOLE]
                joined = [head + tail for head in joined for tail in more]
            return joined
        case ast.IfExp(body=one, orelse=other):
            return _texts(one, scopes) + _texts(other, scopes)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return [a + b for a in _texts(left, scopes) for b in _texts(right, scopes)]
        case ast.Name(id=name):
            return _assigned(name, scopes) or [HOLE]
    return [HOLE]


def _assigned(name: str, scopes: tuple[ast.AST, ...]) -> list[str]:
    """The texts that a name is given, in the innermost scope that gives it any."""
    for i, scope in enumerate(scopes):
        found = [
            text
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            for value in [_value_for(name, target, node.value)]
            if value is not None
            for text in _texts(value, scopes[i + 1 :])
        ]
        if found:
            return found
    return []


def _value_for(name: str, target: ast.expr, value: ast.expr) -> ast.expr | None:
    """What `name` gets where `target` is assigned `value`, also in a tuple."""
    if isinstance(target, ast.Name):
        return value if target.id == name else None
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = zip(target.elts, value.elts, strict=False)
        return next((v for t, v in pairs if isinstance(t, ast.Name) and t.id == name), None)
    return None
