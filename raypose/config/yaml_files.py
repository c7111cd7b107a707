"""YAML from untrusted sources: parsed within bounds, or refused with one sentence.

A kilobyte of YAML can unfold to gigabytes (nested aliases), overflow the stack of the C parser
(nested brackets), or hold impossible values (a number of a million digits). So the events are
checked first, without recursion: size, depth, and nodes with all aliases unfolded.

Plain values get the types that OmegaConf gives them, with which Lightning Pose writes its configs:
`1e-3` is a number, a date is text, a repeated key is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from raypose import storage
from raypose.errors import RayposeError, UsageError
from raypose.limits import (
    MAX_NUMBER_CHARACTERS,
    MAX_YAML_BYTES,
    MAX_YAML_DEPTH,
    MAX_YAML_VALUES,
)
from raypose.storage import AnyPath

_TAG = "tag:yaml.org,2002:"
_REPLACED = (f"{_TAG}timestamp", f"{_TAG}float")
_KEPT = tuple(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))
_FLOAT = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
"""OmegaConf's floats: no dot is needed before an exponent."""


def load_yaml(
    source: str | AnyPath,
    *,
    what: str = "the file",
    error: type[RayposeError] = UsageError,
    max_bytes: int = MAX_YAML_BYTES,
    max_nodes: int = MAX_YAML_VALUES,
) -> Any:
    """The value in a YAML file or text: mappings, lists, text, numbers, true, false and null.

    Args:
        source: the file's path or URL, or (a `str`) the text itself.
        what: names the source in messages, as in "the config is no valid YAML".
        error: the class to raise: it can't be read, is no YAML, or too large or deeply nested.
        max_bytes: of the source.
        max_nodes: values, with all aliases unfolded.

    Raises:
        StorageError: an object can't be read from its store.
    """

    def refused(reason: str, hint: str = "") -> RayposeError:
        return error(reason, path="" if isinstance(source, str) else source, hint=hint)

    try:
        if isinstance(source, str):
            content = source.encode()
        else:
            content = storage.read_head(source, max_bytes + 1)
        if len(content) > max_bytes:
            raise refused(f"{what} is larger than {max_bytes} bytes")
        text = content.decode("utf-8-sig")
        _check_events(text, max_nodes)
        return yaml.load(text, Loader=_Loader)
    except OSError as problem:
        hint = "Check the path and who may read it."
        raise refused(f"{what} can't be read ({problem.strerror})", hint) from problem
    except _BoundError as problem:
        raise refused(f"{what} {problem}", "Write it out in a simpler way.") from problem
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError) as problem:
        # TypeError: a key that can't be hashed, if libyaml's binding does not notice.
        raise refused(f"{what} is no valid YAML ({_reason(problem)})") from problem


class _BoundError(Exception): ...


@dataclass(slots=True)
class _Open:
    """A collection that has not ended yet; `keys` is None in a sequence."""

    anchor: str | None
    keys: set[str] | None = None
    awaits_key: bool = True
    n_nodes: int = 1
    height: int = 0


def _check_events(text: str, max_nodes: int) -> None:
    """Raise if the values would be too many or nested too deep."""
    opened = [_Open(None)]
    anchors: dict[str, tuple[int, int]] = {}
    total = 0

    def add(n_nodes: int, height: int, event: Any) -> None:
        nonlocal total
        total += n_nodes
        if total > max_nodes:
            raise _BoundError(f"holds more than {max_nodes} values, with its aliases unfolded")
        if len(opened) + height > MAX_YAML_DEPTH + 1:
            raise _BoundError(f"is nested more than {MAX_YAML_DEPTH} deep")
        inside = opened[-1]
        inside.n_nodes += n_nodes
        inside.height = max(inside.height, height)
        if inside.keys is None:
            return
        if inside.awaits_key and isinstance(event, yaml.ScalarEvent) and event.value != "<<":
            if event.value in inside.keys:
                raise _marked(f"the key {event.value[:40]!r} comes twice", event)
            inside.keys.add(event.value)
        inside.awaits_key = not inside.awaits_key

    for event in yaml.parse(text, Loader=_BASE):
        if isinstance(event, yaml.AliasEvent):
            if any(collection.anchor == event.anchor for collection in opened):
                raise _BoundError(f"holds itself, by the alias *{event.anchor}")
            # The parser reports an alias of nothing.
            add(*anchors.get(str(event.anchor), (1, 0)), event)
        elif isinstance(event, yaml.ScalarEvent):
            add(1, 0, event)
            if event.anchor is not None:
                anchors[event.anchor] = (1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            add(1, 1, event)
            keys = set[str]() if isinstance(event, yaml.MappingStartEvent) else None
            opened.append(_Open(event.anchor, keys))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = opened.pop()
            opened[-1].n_nodes += ended.n_nodes - 1  # it was counted itself at its start
            opened[-1].height = max(opened[-1].height, ended.height + 1)
            if ended.anchor is not None:
                anchors[ended.anchor] = (ended.n_nodes, ended.height + 1)


_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """Plain values only, with OmegaConf's types; refuses what PyYAML's loaders crash on."""

    def construct_scalar(self, node: Any) -> Any:
        is_number = node.tag in (f"{_TAG}int", f"{_TAG}float")
        if is_number and len(node.value) > MAX_NUMBER_CHARACTERS:
            raise _marked(f"a number of more than {MAX_NUMBER_CHARACTERS} characters", node)
        return super().construct_scalar(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            kind = str(node.tag).removeprefix(_TAG)
            raise _marked(f"no value of type {kind}: {str(node.value)[:40]!r}", node) from error


def _undefined(loader: Any, node: Any) -> Any:
    kind = str(node.tag).removeprefix(_TAG)
    raise _marked(f"values of type {kind[:40]} are not read", node)


# Copies, so that PyYAML's own loaders are not changed; without sets, binary data, ordered mappings
# and dates, which nothing here expects.
_constructors = _BASE.yaml_constructors
_Loader.yaml_constructors = {tag: _constructors[tag] for tag in _KEPT}
_Loader.add_constructor(None, _undefined)
_Loader.yaml_implicit_resolvers = {
    first: [found for found in resolvers if found[0] not in _REPLACED]
    for first, resolvers in _BASE.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


def _marked(problem: str, node: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or error.context or "it can't be parsed").strip()
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        return f"{problem[:160]}{where}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason} at position {error.position}"
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
