"""Tables of predictions as inputs of a task: read, checked against raypose's own records."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from raypose import storage
from raypose.errors import TableError
from raypose.storage import records, regular_files
from raypose.storage.digests import digest_of_blocks
from raypose.tables import read_table
from raypose.tables.keypoints import KeypointTable

_OURS = "Delete it and run again: raypose then redoes it."


def load_table(path: str) -> KeypointTable:
    """Reads a table of any tool; one that raypose has written must be whole.

    Infinite values count as missing, with a note.

    Raises:
        TableError: the file is damaged, cut short, or is no such table.
        OSError: the file can't be read.
    """
    committed = (records.read_record(Path(path)) or {}).get("digest", "")
    if committed and not _is_whole(Path(path), committed):
        raise TableError(
            "its last row is cut short, which it was not when raypose wrote it",
            path=path,
            hint=f"{_OURS} If you have edited it, end its last row with a line break.",
        )
    try:
        table = read_table(path)
    except TableError as error:
        if not committed:
            raise
        raise TableError(error.message, path=path, hint=_OURS) from error
    return _without_infinite(table)


def _is_whole(path: Path, committed: str) -> bool:
    """Whether the file ends as raypose ends its tables, or lacks nothing but the line break."""
    with regular_files.open_file(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        if file.read(1) == b"\n":
            return True
    return digest_of_blocks(chain(storage.blocks(path), [b"\n"])) == committed


def _without_infinite(table: KeypointTable) -> KeypointTable:
    infinite = np.isinf(table.values)
    n_infinite = int(infinite.sum())
    if not n_infinite:
        return table
    note = f"{n_infinite} values are infinite, and count as missing"
    values = np.where(infinite, np.float32(np.nan), table.values)
    return replace(table, values=values, notes=(*table.notes, note))
