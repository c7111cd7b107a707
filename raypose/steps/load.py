"""An existing table: a committed one, or one of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raypose.steps.base import Outcome, Step
from raypose.storage import as_path, records
from raypose.storage.digests import verified
from raypose.storage.origins import Origin, videos_of
from raypose.worker.context import Context


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
        from raypose.steps.frame_files import with_frames
        from raypose.steps.loading import load_table

        local = context.staging.local
        path = local(self.path)
        with verified(path, self.digest, "the table"):
            table = load_table(path)
        table = with_frames(table, as_path(self.path), local)
        record = records.read_record(as_path(self.path)) if self.recorded else None
        if record is not None and record["digest"] == self.digest:
            table = replace(table, origin=Origin(record["recipe"], videos_of(record) or ()))
        return Outcome([table], warnings=list(table.notes))
