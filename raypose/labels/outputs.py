"""The tables of predictions in an output directory, found by their records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raypose.errors import UsageError
from raypose.specs import EKS
from raypose.steps.frame_files import with_frames
from raypose.steps.load import load_table
from raypose.storage import local_path, records
from raypose.storage.layout import folder_of_tables, owner_and_key
from raypose.tables.keypoints import KeypointTable


@dataclass(frozen=True, slots=True)
class OutputTable:
    """A table that a run has committed.

    Attributes:
        owner: name of the model, or `eks`.
        key: of the video, as in `VideoSpec`.
        path: of the CSV.
        is_smoothed: whether it is a smoothed ensemble's.
        video: path of the video, as recorded.
        fingerprint: of the video; empty where that is unknown.
        recipe: digest of what the table was made from.
    """

    owner: str
    key: str
    path: Path
    is_smoothed: bool
    video: str
    fingerprint: str
    recipe: str

    def read(self) -> KeypointTable:
        """The table, with the status of its frames.

        Raises:
            TableError: it is damaged or cut short.
            OSError: it can't be read.
        """
        return with_frames(load_table(str(self.path)), self.path, lambda path: path)


def find_output_tables(directory: str | Path) -> list[OutputTable]:
    """The tables of predictions below a directory, in order of video and owner, smoothed last.

    Args:
        directory: the `-o` of a run, a model directory, or a folder of these.

    Raises:
        UsageError: it is no local directory, or holds no table of a run.
    """
    root = local_path(directory)
    if root is None or not root.is_dir():
        hint = "Give the -o of a run; copy it here first if it is in a store."
        raise UsageError("is no directory on this machine", path=directory, hint=hint)
    found = [_table(root, name) for name in records.recorded_below(root) if name.endswith(".csv")]
    tables = [table for table in found if table is not None]
    if not tables:
        hint = "Give the -o of a run, or a model directory that was run without -o."
        raise UsageError("holds no table of predictions of a run", path=directory, hint=hint)
    return sorted(tables, key=lambda table: (table.key, table.is_smoothed, table.owner))


def output_table(path: Path) -> OutputTable:
    """The table in a file.

    Raises:
        UsageError: the file is no table of predictions of a run.
    """
    folder = folder_of_owner(path)
    table = _table(folder, str(path.relative_to(folder)))
    if table is None:
        hint = "Give a table that raypose has made, where it has made it."
        raise UsageError("is no table of predictions of a run", path=path, hint=hint)
    return table


def folder_of_owner(table: Path) -> Path:
    """The directory of the model, or of the smoothed ensemble, that a table belongs to."""
    folder = folder_of_tables(table).parent
    assert isinstance(folder, Path), "the table is a local file"
    return folder


def label_folder(key: str) -> str:
    """Name of the folder below `labeled-data` that holds a video's images."""
    return key.replace("/", "_")


def _table(root: Path, name: str) -> OutputTable | None:
    at, path = owner_and_key(name, root.name), root / name
    if at is None or not path.is_file():
        return None
    record = records.read_record(path)
    made_from = {} if record is None else record["made_from"]
    kind = made_from.get("kind")
    if record is None or kind not in records.TABLE_KINDS:
        return None
    return OutputTable(
        owner=EKS if kind == records.SMOOTHED else at[0],
        key=at[1],
        path=path,
        is_smoothed=kind == records.SMOOTHED,
        video=record["source"],
        fingerprint=str(made_from.get("video", "")),
        recipe=record["recipe"],
    )
