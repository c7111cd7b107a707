"""The record beside an output, read so that its content can be anything.

A record may be cut short, written by another program, edited by hand, or no file at all. Whatever
is not exactly a record says nothing, and then its output is redone. `ledger` writes records and
compares them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raypose import storage
from raypose.storage import AnyPath
from raypose.storage import regular_files as regular
from raypose.storage.layout import HIDDEN

_MAX_BYTES = 16 << 20
_ERRORS = "surrogateescape"  # names of files need not be UTF-8
_NEEDED: dict[str, type] = {"recipe": str, "size": int, "digest": str}
_TYPES: dict[str, type] = {"made_from": dict, "facts": dict, "source": str}


def record_path(output: AnyPath) -> AnyPath:
    """Where the record of an output lies."""
    return output.parent / HIDDEN / f"{output.name}.json"


def read_record(output: AnyPath) -> dict[str, Any] | None:
    """The record of an output; None where there is none that can be used.

    It has `recipe`, `size`, `digest`, `made_from`, `facts` and `source`, each of its type; what
    else is in it is the writer's.

    Raises:
        StorageError: the store can't be asked.
    """
    path = record_path(output)
    try:
        if isinstance(path, Path):
            content = regular.read_file(path, _MAX_BYTES)
        else:
            content = storage.read_if_there(path) or b""
        record = json.loads(content.decode("utf-8", errors=_ERRORS))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    record = {"made_from": {}, "facts": {}, "source": "", **record}
    if not all(type(record.get(name)) is kind for name, kind in {**_NEEDED, **_TYPES}.items()):
        return None
    return record
