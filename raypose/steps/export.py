"""A table in formats of other tools, beside it. `raypose export` writes the same files later."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from raypose.errors import Failure, TableError, UsageError
from raypose.specs import Skeleton, VideoSpec
from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.provenance import commit_from_table
from raypose.storage import AnyPath, as_path, local_path, records
from raypose.storage.provenance import Provenance
from raypose.tables.formats import FORMATS, Description, Format
from raypose.tables.keypoints import KeypointTable
from raypose.worker.context import Context

TABLE = "table"
"""Among what is recorded of a file: the digest of the table's bytes."""

_BYTES_PER_VALUE = 20  # of a table in memory, its values in the form of the file included


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(TableStep):
    """Write the table in every requested format.

    Attributes:
        table: path of the table.
        skeleton: pairs of keypoints that a line joins.
    """

    name = "export"
    title = "exported tables"
    reads_frames = True

    table: str
    skeleton: Skeleton = ()

    @classmethod
    def planned(cls, source: TableSource) -> Export | None:
        if not source.config.formats:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={
                name: source.paths.beside(exported_name(source.paths.stem, FORMATS[name]))
                for name in source.config.formats
            },
            provenance=source.inputs,
            table=source.paths.predictions,
            skeleton=source.skeleton,
        )

    @property
    def memory_bytes(self) -> int:
        return self.video.n_frames * len(self.model.keypoint_names) * 9 * _BYTES_PER_VALUE

    def expected(self) -> Iterator[tuple[str, Provenance, VideoSpec]]:
        for name, path in self.outputs.items():
            yield path, exported_from(self.provenance, FORMATS[name], self.skeleton), self.video

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        forms = {path: FORMATS[name] for name, path in self.outputs.items()}
        # Opening a video in a store downloads it.
        index = context.index(self.video) if any(f.uses_video for f in forms.values()) else None
        made_of = records.read_record(as_path(self.table)) or {}
        made: list[str] = []
        failure: Failure | None = None
        for path, form in forms.items():
            description = Description(
                owner=self.owner.name,
                key=self.video.key,
                recipe=str(made_of.get("recipe", "")),
                folder=local_path(os.path.dirname(path)),
                video=self.video.path,
                size=None if index is None else (index.width, index.height),
                times_s=None if index is None else index.times_s,
                skeleton=joined_keypoints(self.skeleton, table),
                **beginning(self.video.path, as_path(self.table)),
            )
            step = replace(self, provenance=exported_from(self.provenance, form, self.skeleton))
            stats = {TABLE: made_of.get("digest", "")}
            check = context.video_check if form.uses_video else None
            try:
                with commit_from_table(step, table, path, check, stats=stats) as temporary:
                    form.write(table, temporary, description)
            except (TableError, UsageError) as error:  # other formats can still be written
                failure = failure or Failure.of(self.name, error)
            else:
                made.append(path)
        return Outcome([failure], made, {"n_rows": table.n_frames})


def exported_name(stem: str, form: Format) -> str:
    """Name of the file with the table `<stem>.csv` in another format."""
    return f"{stem}{form.suffix}"


def exported_from(table: Provenance, form: Format, skeleton: Skeleton) -> dict[str, Any]:
    """What a file is made from, by the digests of its table's provenance and of its video."""
    bones = [list(bone) for bone in skeleton] if form.has_skeleton else []
    return {"kind": form.name, "version": form.version, **table, "skeleton": bones}


def joined_keypoints(skeleton: Skeleton, table: KeypointTable) -> Skeleton:
    """The part of a skeleton whose keypoints the table has."""
    names = set(table.keypoint_names)
    return tuple(bone for bone in skeleton if names.issuperset(bone))


def beginning(video: str, table: AnyPath) -> dict[str, Any]:
    """When a recording began, as far as the time stamp of its file or its table says.

    `video` is empty where the video is not that of the table.
    """
    file = local_path(video) if video else None
    by_video, by_table = "when the video was last changed", "when the table was written"
    for place, what in ((file, by_video), (table, by_table)):
        if isinstance(place, Path) and place.exists():
            began = datetime.fromtimestamp(place.stat().st_mtime).astimezone()
            return {"began": began, "began_by": what}
    return {"began": datetime.now().astimezone(), "began_by": "when this file was written"}
