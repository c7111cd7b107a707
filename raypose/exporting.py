"""`raypose export`: the tables of a finished run as files of other tools.

Tables are found by their records. What else a file says comes from the video, if it is still the
one that was predicted, and from the run's `run.json`. A file is committed like every output, and
so is written again only once its table has changed. `raypose.tables.formats` writes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose import storage
from raypose.errors import Failure, RayposeError, UsageError, VideoError
from raypose.inputs.model_config import read_config
from raypose.inputs.models import find_config
from raypose.inputs.probe import known_index, probe
from raypose.inputs.skeleton import as_skeleton, read_skeleton
from raypose.labels.outputs import (
    OutputTable,
    find_output_tables,
    folder_of_owner,
    output_table,
)
from raypose.specs import EKS, Skeleton
from raypose.steps.export import (
    TABLE,
    beginning,
    exported_from,
    exported_name,
    joined_keypoints,
)
from raypose.storage import as_path, commits, digests, local_path, records, run_log, scratch
from raypose.storage.layout import frames_beside
from raypose.storage.origins import videos_of
from raypose.tables.formats import Description, Format, formats_named
from raypose.video.frames import read_frames

if TYPE_CHECKING:
    from raypose.tables.keypoints import KeypointTable
    from raypose.video.index import VideoIndex

_NOT_OURS = "was not written by raypose; the old file is now in .raypose/replaced beside it"
_EDITED = "was edited after raypose wrote it; the export holds the edited values"


@dataclass(slots=True)
class Exported:
    """The result of an export.

    Attributes:
        written: the files.
        up_to_date: files of an earlier export, whose tables have not changed since.
        failures: one for each file that could not be written.
        notes: what a user should know of the files, one sentence each.
    """

    written: list[Path] = field(default_factory=list)
    up_to_date: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, subject: object, text: str) -> None:
        """Add a note unless it is already there."""
        if (sentence := f"{subject} {text}") not in self.notes:
            self.notes.append(sentence)


def export(
    place: str | Path,
    formats: Iterable[str],
    output: str | Path | None = None,
    *,
    skeleton: str | Path | None = None,
) -> Exported:
    """Write every table of keypoints of a run in other formats too.

    Args:
        place: the `-o` of the run, a model directory, or one of their tables.
        formats: names of formats.
        output: directory for the files, in the same folders as the tables; None to write them
            beside the tables.
        skeleton: YAML file with a skeleton to use instead of the run's.

    Raises:
        UsageError: a format is not known or needs a package that is not installed, there is no
            table, a place is not on this machine, or the skeleton can't be used.
    """
    chosen = formats_named(formats)
    given = local_path(place)
    if given is not None and given.is_file():
        tables = [output_table(given)]
        root = folder_of_owner(given)
    else:
        tables = find_output_tables(place)
        assert given is not None, "there are tables in it"
        root = given
    target = root if output is None else local_path(output)
    if target is None:
        hint = "Give -o a directory on this machine."
        raise UsageError("tables can't be exported to a store", path=output or "", hint=hint)
    made = Exported()
    skeletons = _Skeletons(root, skeleton, made)
    try:
        video = _Video("")
        for table in map(_with_video, tables):
            if table.video != video.path:  # tables come in the order of their videos
                video = _Video(table.video)
            one = _Export(table, video, skeletons.of(table.owner), made)
            folder = target / table.path.parent.relative_to(root)
            for form in chosen:
                one.write(form, folder / exported_name(table.path.stem, form))
    finally:
        scratch.close()
    return made


@dataclass
class _Export:
    """One table, which is read when the first file is to be written."""

    table: OutputTable
    video: _Video
    skeleton: Skeleton
    made: Exported

    def write(self, form: Format, path: Path) -> None:
        """Write a file unless it is up to date; an error becomes a failure."""
        try:
            provenance = self._provenance(form)
            status = records.check(path, provenance, why_stale=self._why_stale)
            if status.done:
                self.made.up_to_date.append(path)
                return
            content, description = self._content, self._description(form, path)
            if description.unknown:  # then the file is not finished once the video is back
                provenance["video"] = ""
            with commits.committing(
                path,
                provenance,
                source=self.table.video,
                stats={TABLE: self._digest},
                videos=lambda: videos_of(self._record) or (),
            ) as temporary:
                form.write(content, temporary, description)
        except Exception as error:  # other files can still be written
            self.made.failures.append(_failure(error, path))
            return
        self.made.written.append(path)
        if status.untracked:
            self.made.note(path, _NOT_OURS)

    def _provenance(self, form: Format) -> dict[str, Any]:
        table = {"table": self.table.recipe, "video": self.table.fingerprint}
        return exported_from(table, form, self.skeleton)

    def _why_stale(self, record: Mapping[str, Any]) -> str:
        is_same = record["facts"].get(TABLE) == self._digest
        return "" if is_same else "its table has changed"

    @cached_property
    def _digest(self) -> str:
        """Of the table's bytes, which need not be those that raypose wrote."""
        return digests.remembered_digest(self.table.path)

    @cached_property
    def _record(self) -> Mapping[str, Any]:
        return records.read_record(self.table.path) or {}

    @cached_property
    def _content(self) -> KeypointTable:
        content = self.table.read()
        if self._record.get("digest") != self._digest:
            self.made.note(self.table.path, _EDITED)
        for note in content.notes:
            self.made.note(self.table.path, note)
        return content

    def _description(self, form: Format, path: Path) -> Description:
        table = self.table
        facts = self._facts(form, path) if form.uses_video else {}
        return Description(
            owner=table.owner,
            key=table.key,
            recipe=table.recipe,
            folder=path.parent,
            skeleton=joined_keypoints(self.skeleton, self._content),
            **facts,
        )

    def _facts(self, form: Format, path: Path) -> dict[str, Any]:
        """What a description says of the video, as far as that can be known."""
        table = self.table
        video = table.video if table.fingerprint else ""
        try:
            index = self.video.index_of(table, self._content.n_frames)
        except RayposeError as error:
            unknown = f"{error.path or 'the video'} {error.message}"
        else:
            facts = {"size": (index.width, index.height), "times_s": index.times_s}
            return {"video": video, **facts, **beginning(video, table.path)}
        beside = frames_beside(table.path)
        times_s = read_frames(str(beside)).times_s if storage.exists(beside) else None
        if times_s is not None or not form.needs_times:
            self.made.note(path, f"lacks the size of the video's frames: {unknown}")
        facts = {"times_s": times_s, "unknown": unknown}
        return {"video": video, **facts, **beginning("", table.path)}


class _Video:
    """A video, which is looked at once for all tables of it."""

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def _found(self) -> tuple[str, VideoIndex] | RayposeError:
        """Its fingerprint and index, or why they can't be had."""
        from raypose.video.index import index_video

        try:
            path = as_path(self.path)
            if not storage.exists(path):
                return VideoError("no longer exists", path=self.path)
            video = probe(path)
            index = known_index(video)
            if index is None:  # the cache can't be written
                if not isinstance(path, Path):
                    return VideoError("can't be indexed, as the cache is full", path=self.path)
                index = index_video(path)
            return video.fingerprint, index
        except RayposeError as error:
            return error
        except OSError as error:
            return VideoError(f"can't be read ({error})", path=self.path)

    def index_of(self, table: OutputTable, n_frames: int) -> VideoIndex:
        """The index of the video that a table with this number of rows was made from.

        Raises:
            RayposeError: the video is not known, not there, can't be read, or is another one now.
        """
        if not table.fingerprint:
            raise VideoError("is unknown because the table was made from another tool's tables")
        if isinstance(self._found, RayposeError):
            raise self._found
        fingerprint, index = self._found
        if fingerprint != table.fingerprint or index.n_frames != n_frames:
            raise VideoError("is not the video that was predicted", path=self.path)
        return index


class _Skeletons:
    """The skeletons that a run has drawn, by its `run.json`, or the one that was given."""

    def __init__(self, root: Path, given: str | Path | None, made: Exported) -> None:
        self._given: Skeleton = () if given is None else read_skeleton(Path(given))
        # The tables may be those of one model, in a directory of its own.
        places = (run_log.find_run_dir(place) for place in (root, root.parent))
        description = next(filter(None, map(run_log.read_description, places)), {})
        self._of_models = _of_models(description, root)
        config = description.get("config")
        drawn = config.get("skeleton") if isinstance(config, dict) else None
        if isinstance(drawn, str) and not self._given:
            try:
                self._given = read_skeleton(Path(drawn))
            except UsageError as error:
                made.note(drawn, f"the run's skeleton, can't be used: {error.message}")

    def of(self, owner: str) -> Skeleton:
        """The skeleton of a model; for the smoothed ensemble, of its first one."""
        if self._given or owner != EKS:
            return self._given or self._of_models.get(owner, ())
        return next(iter(self._of_models.values()), ())


def _of_models(description: Mapping[str, Any], root: Path) -> dict[str, Skeleton]:
    """Skeletons by model: those in `run.json`, else that in the config of a model directory."""
    models = description.get("models")
    if isinstance(models, list):
        known = [model for model in models if isinstance(model, dict)]
        return {str(model.get("name")): as_skeleton(model.get("skeleton")) for model in known}
    with contextlib.suppress(RayposeError):
        config, _ = read_config(find_config(root))
        return {root.name: as_skeleton(config.data.skeleton)}
    return {}


def _with_video(table: OutputTable) -> OutputTable:
    """A table with its video; what `raypose smooth` made of a run's tables has that of these."""
    member = None if table.fingerprint else local_path(table.video)
    record = None if member is None else records.read_record(member)
    fingerprint = "" if record is None else record["made_from"].get("video")
    if record is None or not isinstance(fingerprint, str) or not fingerprint:
        return table
    return replace(table, video=record["source"], fingerprint=fingerprint)


def _failure(error: Exception, path: Path) -> Failure:
    if isinstance(error, RayposeError) and not error.path:
        error = type(error)(error.message, path=path, hint=error.hint)
    return Failure.of("export", error)
