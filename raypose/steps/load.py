"""Read a table: a committed one, or one of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from raypose.steps.outcome import Outcome
from raypose.storage import as_path, records
from raypose.storage.digests import verified
from raypose.tasks import LoadArgs, Task
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; its result is the table."""
    from raypose.steps.frame_files import with_frames
    from raypose.steps.loading import load_table

    args, local = task.args, context.staging.local
    assert isinstance(args, LoadArgs)
    path = local(args.path)
    with verified(path, args.digest, "the table"):
        table = load_table(path)
    table = with_frames(table, as_path(args.path), local)
    known = records.recorded(as_path(args.path)) if args.recorded else None
    if known is not None and known.digest == args.digest:
        table = replace(table, origin=known.origin)
    return Outcome([table], warnings=list(table.notes))
