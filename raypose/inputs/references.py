"""References in a model's config: `${data.data_dir}/videos` and the like, resolved by hand.

OmegaConf would resolve more than others' configs should be allowed: `${oc.env:…}` reads this
machine's environment. Here a reference is a path within the same config, absolute (`${a.b}`,
`${a[0]}`) or relative (`${.b}`, `${..b}`). All others, and references to nothing, are kept as
text, which the schema may refuse. The size of what they unfold to is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raypose.limits import MAX_REFERENCE_DEPTH, MAX_RESOLVED_CHARACTERS, MAX_RESOLVED_VALUES

_REFERENCE = re.compile(r"\$\{\s*(\.*[\w-]+(?:\.[\w-]+|\[[\w-]+\])*)\s*\}")
_PARTS = re.compile(r"[\w-]+")
_NOTHING = object()

_Path = tuple[str, ...]


class ReferenceBoundError(Exception):
    """References form a circle, or unfold to more than any config needs."""


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with all references to its own entries replaced, or a `ReferenceBoundError`."""
    return dict(_Resolver(config).resolved(config, (), 0))


class _Resolver:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._n_values = self._n_characters = 0

    def resolved(self, node: Any, path: _Path, depth: int) -> Any:
        """A node of the config at `path`, with everything below it resolved."""
        self._n_values += 1
        if depth > MAX_REFERENCE_DEPTH:
            raise ReferenceBoundError("references that lead in a circle, or too far")
        if self._n_values > MAX_RESOLVED_VALUES:
            raise ReferenceBoundError(
                f"references that unfold to more than {MAX_RESOLVED_VALUES} values"
            )
        if isinstance(node, Mapping):
            return {k: self.resolved(v, (*path, k), depth + 1) for k, v in node.items()}
        if isinstance(node, list):
            return [self.resolved(v, (*path, str(i)), depth + 1) for i, v in enumerate(node)]
        if isinstance(node, str):
            value = self._text(node, path, depth) if "${" in node else node
            self._n_characters += len(value) if isinstance(value, str) else 0
            if self._n_characters > MAX_RESOLVED_CHARACTERS:
                message = (
                    f"references that unfold to more than {MAX_RESOLVED_CHARACTERS} characters"
                )
                raise ReferenceBoundError(message)
            return value
        return node

    def _text(self, text: str, path: _Path, depth: int) -> Any:
        if "\\${" in text:  # OmegaConf's way to escape a reference
            return text
        whole = _REFERENCE.fullmatch(text)
        if whole is not None:
            value = self._lookup(_target(whole[1], path), depth + 1)
            return text if value is _NOTHING else value

        def replacement(match: re.Match[str]) -> str:
            value = self._lookup(_target(match[1], path), depth + 1)
            if value is _NOTHING or isinstance(value, dict | list):
                return match[0]
            return str(value)

        return _REFERENCE.sub(replacement, text)

    def _lookup(self, target: _Path | None, depth: int) -> Any:
        """The resolved value at a path, or `_NOTHING`."""
        if target is None:
            return _NOTHING
        if depth > MAX_REFERENCE_DEPTH:
            raise ReferenceBoundError("references that lead in a circle, or too far")
        node: Any = self._root
        for i, part in enumerate(target):
            if isinstance(node, str):  # perhaps a reference to the container
                whole = _REFERENCE.fullmatch(node)
                onward = _target(whole[1], target[:i]) if whole else None
                return self._lookup(onward and (*onward, *target[i:]), depth + 1)
            node = _child(node, part)
        return node if node is _NOTHING else self.resolved(node, target, depth + 1)


def _target(written: str, path: _Path) -> _Path | None:
    """The absolute path of a reference at `path`; None if it leaves the config."""
    n_dots = len(written) - len(written.lstrip("."))
    parts = tuple(_PARTS.findall(written))
    if n_dots > len(path):
        return None
    return (*path[: len(path) - n_dots], *parts) if n_dots else parts


def _child(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part, _NOTHING)
    if isinstance(node, list) and part.isdecimal() and len(part) < 10 and int(part) < len(node):
        return node[int(part)]
    return _NOTHING
