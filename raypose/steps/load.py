"""An existing table: a committed one, or one of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from raypose import storage
from raypose.errors import TableError
from raypose.steps.base import Outcome, Step
from raypose.steps.frame_files import with_frames
from raypose.storage import as_path, records, regular_files
from raypose.storage.digests import digest_of_blocks, verified
from raypose.storage.origins import Origin, videos_of
from raypose.tables import read_table
from raypose.tables.keypoints import KeypointTable
from raypose.worker.context import Context

_OURS = "Delete it and run again: raypose then redoes it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Step):
    """Read a table of any tool; its result is the table.

    Attributes:
        path: the table.
        optional: whether the steps that take it can do without; then they report its failure.
        digest: of its bytes when the plan was made; empty where any will do.
        recorded: whether it is an output of raypose, whose record says what it was made from.
    """

    name = "load"
    title = "predictions"

    path: str
    optional: bool = False
    digest: str = ""
    recorded: bool = False

    @property
    def may_fail(self) -> bool:
        return self.optional

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        local = context.staging.local
        path = local(self.path)
        with verified(path, self.digest, "the table"):
            table = load_table(path)
        table = with_frames(table, as_path(self.path), local)
        record = records.read_record(as_path(self.path)) if self.recorded else None
        if record is not None and record["digest"] == self.digest:
            table = replace(table, origin=Origin(record["recipe"], videos_of(record) or ()))
        return Outcome([table], warnings=list(table.notes))


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
